"""What onnxruntime's own API for training reads, for those who train with it; no box needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from reverie.device_runtime.engine.installed import OLDEST, ORDINARY, TRAINING, installed_engine
from reverie.device_runtime.errors import ExportError
from reverie.export.graphs.onnx_export import IR_VERSION, strip_metadata
from reverie.export.graphs.quiet import quiet_stderr


def require_builder() -> None:
    """Raise ExportError unless the installed engine is the one that has such an API."""
    if installed_engine().name != TRAINING:
        raise ExportError(
            f"training artifacts are made by {TRAINING}, and {installed_engine()} is installed: "
            f"pip uninstall --yes {ORDINARY}, then pip install {TRAINING}=={OLDEST[TRAINING]}"
        )


def write(model: onnx.ModelProto, trainable: Sequence[str], betas: tuple[float, float], folder: Path) -> None:
    """Write training_model.onnx, eval_model.onnx, optimizer_model.onnx (AdamW) and checkpoint into the new `folder`.

    The first output of `model`, which stays as it is, is the loss; its initializers `trainable` are trained. Raises
    ExportError.
    """
    from onnxruntime.training import artifacts, onnxblock

    folder.mkdir(parents=True)
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    strip_metadata(copied)
    try:
        with quiet_stderr():
            artifacts.generate_artifacts(
                copied,
                requires_grad=list(trainable),
                loss=None,
                # The epsilon of torch's Adam, so that steps compare with torch's.
                optimizer=onnxblock.optim.AdamW(betas=betas, eps=1e-8, weight_decay=0.0),
                artifact_directory=folder,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise ExportError(f"{TRAINING} builds no gradient graph for {folder.name}: {reason}") from error
    for path in folder.glob("*.onnx"):
        written = onnx.load(path)
        written.ir_version = IR_VERSION
        if path.name == "optimizer_model.onnx":
            _optimize_as_torch(written)
        strip_metadata(written)
        path.write_bytes(written.SerializeToString(deterministic=True))


def _optimize_as_torch(optimizer: onnx.ModelProto) -> None:
    """Let the one node of an AdamW graph add epsilon after the bias correction, as torch does (mode 0).

    It and its output are renamed, because onnxblock numbers them from a counter of the whole process.
    """
    (node,) = optimizer.graph.node
    next(attribute for attribute in node.attribute if attribute.name == "adam_mode").i = 0
    node.name = node.op_type
    node.output[0] = optimizer.graph.output[0].name = "updated"
