"""An update that was cut off, wherever and however often, ends in the weights of one that was not, bit for bit."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from crash_support import Killed, begin, cut_after, entries, go_on, small, weights

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import STATISTICS
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import UpdateError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import UPDATE
from reverie.device_runtime.method.monitor import STAGES, Monitor
from reverie.tools.bench.frames import read_frames


@pytest.mark.parametrize(
    ("stage", "step"),
    [("replay", 1), ("fine-tune", 2), ("synthesis", 2), ("retrain", 2), ("generative update", 2)],
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_update_cut_off_in_a_stage_resumes_to_identical_weights(cut, uncut, journal, stage, step):
    cut_after(cut, stage, step)
    update = journal.in_progress()
    assert (update.stage, update.step) == ((stage, step - 1) if step > 1 else ("", 0))
    assert store.current(cut) == "0000"
    assert go_on(cut).name == "0001"
    assert weights(cut) == uncut.weights
    assert entries(cut) == uncut.entries


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in {"frames", "replay"}])
def test_stages_that_were_done_are_not_run_again(cut, stage):
    cut_after(cut, stage, 2)
    seen = []
    with transaction.changing(cut) as journal:
        transaction.go_on(cut, journal, seen.append)
    assert (seen[0].stage, seen[0].step) == (stage, 2)


@pytest.mark.parametrize("form", ["default", "literal", "converging"])
def test_every_form_resumes_from_the_middle_of_every_stage(home, frames, form, tmp_path):
    config = small(UpdateConfig())
    if form == "literal":
        config = config.literal()
    elif form == "converging":  # and the learning rate is falling when it is cut off
        config = replace(config, fine_tune=replace(config.fine_tune, steps=10, window=2, tolerance=9.0))
    begin(home, frames, config)
    whole = shutil.copytree(home, tmp_path / "whole")
    go_on(whole)
    for stage, step in (("fine-tune", 3), ("synthesis", 2), ("retrain", 2), ("generative update", 2)):
        cut_after(home, stage, step)
    cut_after(home, "generative update", 2)
    go_on(home)
    assert weights(home) == weights(whole)


@pytest.mark.parametrize(
    "cuts",
    [[("fine-tune", 3)], [("fine-tune", 2), ("retrain", 1)], [("synthesis", 1), ("synthesis", 1)]],
    ids=["at the end of a stage", "in two stages", "twice at the same point"],
)
def test_it_does_not_matter_how_rarely_states_are_saved(cut, uncut, cuts):
    """With nothing saved within a stage it begins anew."""
    for stage, step in cuts:
        cut_after(cut, stage, step, save_seconds=1e9)
    go_on(cut, save_seconds=1e9)
    assert weights(cut) == uncut.weights


@pytest.mark.parametrize("damage", ["altered", "truncated", "empty", "missing", "of another stage"])
@pytest.mark.parametrize("stage", ["fine-tune", "generative update"])
def test_a_checkpoint_that_is_not_what_was_written_is_never_used(cut, uncut, stage, damage):
    cut_after(cut, "generative update", 2)
    path = next((cut / UPDATE).glob(f"{stage.replace(' ', '-')}-*.npz"))
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "altered": content[:-900] + bytes([content[-900] ^ 1]) + content[-899:],
                "truncated": content[: len(content) // 2],
                "empty": b"",
                "of another stage": next((cut / UPDATE).glob("retrain-*.npz")).read_bytes(),
            }[damage]
        )
    steps = []
    with transaction.changing(cut) as journal:
        transaction.go_on(cut, journal, lambda now: steps.append((now.stage, now.step)))
    assert steps[0] == (stage, 1)
    assert weights(cut) == uncut.weights


def test_checkpoints_of_another_version_are_not_used_but_its_frames_are(cut, uncut, monkeypatch):
    cut_after(cut, "retrain", 2)
    monkeypatch.setattr(transaction, "_version", lambda: "0.0.0")
    seen = []

    def listen(now):
        seen.append((now.stage, now.step))
        if seen.count(("retrain", 2)) == 1 and now.stage == "retrain" and now.step == 2:
            raise Killed

    with transaction.changing(cut) as journal, pytest.raises(Killed):
        transaction.go_on(cut, journal, listen, save_seconds=0.0)
    assert seen[0] == ("replay", 1)
    with transaction.changing(cut) as journal:  # this version's own states count
        transaction.go_on(cut, journal, listen, save_seconds=0.0)
    assert seen.count(("replay", 1)) == 1
    assert weights(cut) == uncut.weights


def test_the_report_of_a_resumed_update_is_that_of_all_attempts(cut, uncut):
    cut_after(cut, "fine-tune", 2)
    cut_after(cut, "generative update", 2)
    go_on(cut)
    resumed = store.read_report(cut, "0001")
    for name, stage in uncut.report["stages"].items():
        assert resumed["stages"][name]["losses"] == stage["losses"]
        assert resumed["stages"][name]["steps"] == stage["steps"]
        assert resumed["stages"][name]["seconds"] > 0
        assert resumed["stages"][name]["peak_bytes"] > 1 << 20
    for same in ("classes", "agreement", "coverage", "config"):
        assert resumed[same] == uncut.report[same]


def test_seconds_and_peak_memory_are_those_of_all_attempts(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    kept = {}

    class Memory:
        def load(self, stage):
            return dict(kept[stage]) if stage in kept else None

        def save(self, stage, step, state):
            kept[stage] = state | {"step": step}

    for attempt, memory in ((1, 5000), (2, 3000)):
        monkeypatch.setattr("reverie.device_runtime.method.monitor.peak_memory", lambda memory=memory: memory)
        monitor = Monitor(keeper=Memory(), save_seconds=0.0, max_minutes=1.0)
        clock[0] += 1000.0  # between the attempts, or before the first
        with monitor.stage("replay"):
            assert (monitor.resume() is None) == (attempt == 1)
            clock[0] += 7.0
            monitor.step(attempt, 2, 0.5 * attempt)
            monitor.save({})
    record = monitor.records["replay"]
    assert (record.seconds, record.peak_bytes, record.steps, record.losses) == (14.0, 5000, 2, [0.5, 1.0])


@pytest.mark.parametrize("damage", ["frames-0.npz", "inputs-0.rows", "gone"])
def test_frames_that_were_damaged_on_disk_are_never_learnt(cut, journal, damage):
    if damage == "gone":
        shutil.rmtree(cut / UPDATE)
    else:
        (cut / UPDATE / damage).write_bytes(b"damaged")
    with pytest.raises(UpdateError, match="its stored frames are damaged"):
        go_on(cut)
    assert journal.updates()[-1].outcome == "given up"


def test_features_of_a_backbone_are_computed_once_and_stored_and_it_resumes_to_identical_weights(
    backbone_bundle, frames_folder, tiny, fast_folder, monkeypatch
):
    home = fast_folder / "home"
    installation.install(backbone_bundle, home)
    (bundle,) = home.glob("bundles/*")
    features = read_frames(frames_folder, InputMaker(bundle, read_manifest(bundle)), 5)
    begin(home, features, tiny)
    whole = shutil.copytree(home, fast_folder / "whole")
    go_on(whole)
    # From here on there is no backbone to compute features with.
    monkeypatch.setattr("reverie.device_runtime.camera.inputs.Graph", None)
    for stage, step in (("replay", 1), ("fine-tune", 2), ("synthesis", 2), ("retrain", 2), ("generative update", 2)):
        cut_after(home, stage, step)
        with closing(Journal(home)) as journal:
            stored = Checkpoints(home / UPDATE, journal).load_rows("inputs", features.inputs.shape)
        assert stored[:].tobytes() == features.inputs.tobytes()
    assert features.inputs.shape[1:] == (64,)
    go_on(home)
    assert weights(home) == weights(whole)
    assert entries(home) == entries(whole)


@pytest.mark.parametrize("stage", ["replay", "fine-tune", "generative update"])
@pytest.mark.parametrize("kind", ["statistics_bundle", "hidden_bundle"])
def test_an_update_that_solves_or_has_few_frames_and_was_cut_off_ends_in_identical_weights(
    frames_folder, tiny, fast_folder, request, kind, stage
):
    home, installed = fast_folder / "home", request.getfixturevalue(kind)
    installation.install(installed, home)
    (bundle,) = home.glob("bundles/*")
    begin(home, read_frames(frames_folder, InputMaker(bundle, read_manifest(bundle)), 5), tiny)
    whole = shutil.copytree(home, fast_folder / "whole")
    go_on(whole)
    cut_after(home, stage, 1)
    go_on(home)
    assert weights(home) == weights(whole)
    assert weights(home).keys() == {*read_manifest(installed).changing}
    assert STATISTICS in weights(home)
    assert entries(home) == entries(whole)


def test_frames_and_states_are_private_to_the_owner_and_gone_after_the_update(cut, uncut):
    cut_after(cut, "synthesis", 1)
    assert {oct(p.stat().st_mode & 0o777) for p in (cut / UPDATE).iterdir()} == {"0o600"}
    assert oct((cut / UPDATE).stat().st_mode & 0o777) == "0o700"
    assert not any(name.startswith(UPDATE) for name in uncut.entries)


def test_arrays_come_back_as_they_were_saved_and_never_as_pickles(cut, journal):
    checkpoints = Checkpoints(cut / UPDATE, journal)
    state = checkpoints.load("frames")
    assert state["shape"].tolist() == [80, 1, 14, 14]
    assert checkpoints.load("fine-tune") is None
    record = disk.write_with(cut / UPDATE / "x.npz", lambda f: np.savez(f, a=np.array([{}], dtype=object)))
    journal.add_checkpoint("x", 1, "x.npz", record)
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoints.load("x")


def test_the_configuration_survives_its_way_through_the_journal():
    config = replace(UpdateConfig(seed=3, max_minutes=2.5).literal(), min_images=9)
    assert UpdateConfig.from_json(config.to_json()) == config
    with pytest.raises(TypeError):
        UpdateConfig.from_json('{"unknown": 1}')
