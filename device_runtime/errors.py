"""Every error that Reverie raises on purpose.

Each message says what is wrong, where, and what to do. A command prints it as one line and exits 1.

    ReverieError
    ├── BundleError      what was exported is incomplete, altered or of an unknown format
    │   └── SignatureError   it is not signed by the key that counts, or that key cannot be used
    ├── HomeError        the box's state directory is missing, foreign or empty
    │   └── BusyError    another command is changing it
    ├── UpdateError      an update in progress cannot go on
    │   └── RejectedError    what it made is not fit to serve
    ├── FramesError      labelled images that cannot be learnt from
    ├── CameraError      a camera, stream or video that cannot be opened or gives nothing any more
    ├── EngineError      the training engine is missing or cannot run a graph
    ├── TrainingError    a loss is no longer a number
    ├── StorageError     the disk is full or cannot be written
    └── ExportError      a model cannot be turned into a bundle that trains

No error shows credentials: they are taken out of every URL in its message.
"""

from __future__ import annotations

from reverie.device_runtime.redaction import redact


class ReverieError(Exception):
    """Base of all errors that a user can act on."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class BundleError(ReverieError):
    """What was exported is incomplete, altered or of an unknown format."""


class SignatureError(BundleError):
    """What was exported is not signed by the key that counts, or that key cannot be used."""


class HomeError(ReverieError):
    """The box's state directory is missing, foreign or empty."""


class BusyError(HomeError):
    """Another command is changing the box's state directory."""


class UpdateError(ReverieError):
    """An update in progress cannot go on."""


class RejectedError(UpdateError):
    """The updated solver is not fit to serve; the previous one serves on."""


class FramesError(ReverieError):
    """Labelled images that cannot be learnt from."""


class CameraError(ReverieError):
    """A camera, stream or video that cannot be opened or gives nothing any more."""


class EngineError(ReverieError):
    """The training engine is missing or cannot run a graph."""


class TrainingError(ReverieError):
    """A loss is no longer a number."""


class StorageError(ReverieError):
    """The disk is full or cannot be written."""


class ExportError(ReverieError):
    """A model cannot be turned into a bundle that trains."""


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line, to be told inside one of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
