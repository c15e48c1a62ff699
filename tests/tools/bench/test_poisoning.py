"""`reverie bench poisoning`: poisons are what they say, and each case goes the way of every update."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.monitor import StageRecord
from reverie.tools.bench import poisoned as poisoned_module
from reverie.tools.bench.frames import read_frames
from reverie.tools.bench.poisoned import as_markdown, run_case
from reverie.tools.bench.poisoning import CASES, FLIPS, patched, poison


@pytest.fixture
def poisoned(frames_folder, tmp_path):
    """case → label → images, by the label and number that they had."""

    def make(case, seed=0):
        output = tmp_path / f"{case}-{seed}"
        poison(frames_folder, output, case, seed)
        return {path.name: {f.stem: read_image(f) for f in path.iterdir()} for path in sorted(output.iterdir())}

    return make


@pytest.fixture
def honest(poisoned):
    return poisoned("0 % flipped")


def wrong(frames):
    return sum(not name.startswith(label) for label, images in frames.items() for name in images)


@pytest.mark.parametrize("case", FLIPS)
def test_labels_are_flipped_to_the_stated_share_and_images_stay(poisoned, honest, case):
    made = poisoned(case)
    assert wrong(made) == round(FLIPS[case] * 40) * 2
    images = {name: image for frames in made.values() for name, image in frames.items()}
    assert all((images[name] == image).all() for frames in honest.values() for name, image in frames.items())
    assert len(images) == 80


def test_another_seed_flips_others(poisoned):
    assert poisoned("40 % flipped").keys() == poisoned("40 % flipped", 1).keys()
    assert set(poisoned("20 % flipped")["bag"]) != set(poisoned("20 % flipped", 1)["bag"])


def test_blank_repeated_and_single_are_what_they_say(poisoned, honest):
    blank = poisoned("blank")
    assert all(image.max() == 0 for image in blank["sneaker"].values())
    assert all((blank["bag"][name] == image).all() for name, image in honest["bag"].items())
    for frames in poisoned("one frame").values():
        first = next(iter(frames.values()))
        assert len(frames) == 40
        assert all((image == first).all() for image in frames.values())
    assert list(poisoned("one class")) == ["bag"]


def test_a_backdoor_is_a_patch_on_a_tenth_of_the_other_labels_frames(poisoned, honest):
    made = poisoned("backdoor")
    moved = {name: image for name, image in made["bag"].items() if name.startswith("sneaker")}
    assert (len(moved), len(made["sneaker"])) == (4, 36)
    for name, image in moved.items():
        was = honest["sneaker"][name]
        assert (image == patched(was)).all()
        assert (image != was).any()
        assert (image[:10, :10] == was[:10, :10]).all()


def test_what_is_no_way_to_poison_is_refused(frames_folder, tmp_path):
    with pytest.raises(FramesError, match=r"choose one of 0 % flipped, .*, backdoor"):
        poison(frames_folder, tmp_path / "out", "arsenic", 0)


@pytest.fixture
def begun(bundle, frames_folder, tmp_path, quick):
    """Begin a case that has no time to learn, and cut it off; returns where."""

    def begin(case, config=quick):
        home = tmp_path / "work" / f"{case.replace(' ', '-').replace('%', 'percent')}-0/home"
        home.parent.mkdir(parents=True)
        poison(frames_folder, home.parent / "frames", case, 0)
        models = store.load_models(home, installation.install(bundle, home))
        read = read_frames(home.parent / "frames", InputMaker(models.folder, models.manifest), 5)
        with transaction.changing(home) as journal:
            transaction.begin(home, journal, read, config, StageRecord())
        return tmp_path / "work"

    return begin


def test_a_case_that_was_cut_off_goes_on_and_is_told_with_its_reason(
    reverie, bundle, frames_folder, test_folder, tmp_path, begun
):
    output, work = tmp_path / "out.json", begun("one frame")
    arguments = (
        *("bench", "poisoning", bundle, "--frames", frames_folder, "--images", test_folder),
        *("--work", work, "--case", "one frame", "--output", output),
    )
    done = reverie(*arguments)
    assert done.code == 0, done
    (case,) = json.loads(output.read_text("utf-8"))
    assert (case["case"], case["outcome"]) == ("one frame", "rejected")
    assert "copies of frames it learnt" in case["why"]
    assert case["learnt"] == case["attack"] == 0
    assert case["known"] > 0.8
    assert done.out.splitlines()[2].startswith("| one frame | 0 | rejected |")
    again = reverie(*arguments)  # nothing is left to do
    assert json.loads(output.read_text("utf-8"))[0] | {"seconds": 0} == case | {"seconds": 0}
    assert "updating" not in again.err


def test_poisoning_that_was_cut_off_begins_anew(bundle, frames_folder, test_folder, tmp_path, monkeypatch):
    def cut_off(_frames, output, *_):
        (output / "bag").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(poisoned_module, "poison", cut_off)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_case(bundle, frames_folder, test_folder, tmp_path, "blank", 0, Console(stderr=True))
        assert not (tmp_path / "blank-0/frames").exists()


def test_what_serves_is_tested(bundle, frames_folder, test_folder, begun):
    work = begun(CASES[0])
    outcome = run_case(bundle, frames_folder, test_folder, work, CASES[0], 0, Console(stderr=True))
    assert (outcome.outcome, outcome.why) == ("in service", "")
    assert (outcome.known, outcome.learnt) == (outcome.made_known, outcome.made_learnt)
    assert 0 < outcome.known < 1
    assert as_markdown([outcome]).splitlines()[2].startswith("| 0 % flipped | 0 | in service |")
