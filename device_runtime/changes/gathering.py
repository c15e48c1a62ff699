"""How an update of a home begins: with a folder of frames, or with those that are stored, once they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.frames import intake, questions
from reverie.device_runtime.frames.frame_store import FrameStore
from reverie.device_runtime.frames.mislabelled import without_mislabelled
from reverie.device_runtime.frames.selection import OnDemand, Selection, Shown, select, shown_in
from reverie.device_runtime.home import store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.labelled import Frames, extend_classes, split
from reverie.device_runtime.method.models import Models, require_trainable
from reverie.device_runtime.method.monitor import Listener, Monitor
from reverie.device_runtime.method.update import is_solved
from reverie.device_runtime.promotion.evidence import PROVABLE, can_only_win_few

LEFT = (intake.OVER_THE_CAP, intake.UNREADABLE, intake.HELD_BACK)
"""How the reasons begin for which a frame is not taken and stays where it is."""


def begin(
    home: Path,
    journal: Journal,
    folder: Path | None,
    config: UpdateConfig,
    listener: Listener | None = None,
    keep_frames: bool = False,
    insisted: Sequence[str] = (),
) -> None:
    """Look at the frames in `folder`, or at those that are stored, set aside what is not fit, and begin an update.

    A label that is doubted (`questions.py`) is held back, unless it is among those `insisted` on.

    Stored frames that it learns go when its result is in service, and so do those that had been set aside before;
    `keep_frames` keeps both. Raises FramesError or EngineError before anything is changed, and notes in the audit log
    which doubts kept it from beginning; StorageError, HomeError, UpdateError.
    """
    frames = FrameStore(home, journal)
    before = frames.numbers_set_aside()
    stored = frames.numbers_to_learn() if folder is None else []
    shown = _shown(frames, stored) if folder is None else shown_in(folder, config.min_images)
    parent = store.read_generation(home)
    models = store.load_models(home, parent)
    require_trainable(models.manifest)
    extend_classes(parent.classes, tuple(sorted({frame.label for frame in shown})), models.manifest.slots)
    make = InputMaker(models.folder, models.manifest)
    monitor = Monitor(listener)
    with monitor.stage("frames") as reading:
        selection = select(shown, make, models.solver_graph, parent.classes, config, home, monitor.step)
        try:
            if config.intake.check:
                selection = questions.hold_back(selection, shown, models, insisted)
                if config.closed_form and (models.statistics or models.hidden):
                    selection = without_mislabelled(selection, shown, models, config, insisted)
            require_something_to_gain(models, selection.frames, config)
        except FramesError as error:
            journal.note("update not begun", parent=parent.name, message=str(error))
            raise
    leaving = [] if keep_frames or not stored else [stored[at] for at in selection.taken]
    aside_before = [] if keep_frames else before
    transaction.begin(home, journal, selection.frames, config, reading, selection.counts(shown), leaving, aside_before)
    for at, reason in selection.set_aside.items():
        if not reason.startswith(LEFT) and folder is None:
            frames.set_aside(frames.frame(stored[at]), reason)
    if folder is not None:
        _copy_aside(frames, shown, selection)
    frames.note()


def require_something_to_gain(models: Models, frames: Frames, config: UpdateConfig) -> None:
    """Raise FramesError where all labels are known and a gain could not show, whatever was learnt.

    An update of known classes serves if it wins more held-out frames than chance would, which takes some to win.
    """
    if set(frames.classes) - set(models.classes) or not config.holdout or config.promotion.gain < 0:
        return
    all_judge = is_solved(models, config)
    judging = split(frames, models.classes, 0.0 if all_judge else config.holdout, config.seed)[0 if all_judge else 1]
    right = int((predict(models, judging.inputs) == judging.labels).sum())
    if len(judging.labels) - right >= PROVABLE or can_only_win_few(len(judging.labels), right):
        return
    raise FramesError(
        f"nothing to learn: all labels are known, and of the {len(judging.labels)} frames that would judge an update "
        f"{right} are recognised. Fewer than {PROVABLE} that are won could be chance: show more that it gets wrong"
    )


def _shown(frames: FrameStore, numbers: Sequence[int]) -> Sequence[Shown]:
    def shown(at: int) -> Shown:
        frame = frames.frame(numbers[at])
        return Shown(frame.label, frame.file, partial(frames.content, frame), bool(frame.released))

    return OnDemand(len(numbers), shown)


def _copy_aside(frames: FrameStore, shown: Sequence[Shown], selection: Selection) -> None:
    """Keep what was set aside of a folder for somebody to look at, as far as there is room: it is in the folder too."""
    for at, reason in selection.set_aside.items():
        if not reason.startswith(LEFT):
            try:
                frames.add(shown[at].label, shown[at].read(), reason)
            except FramesError:
                return
