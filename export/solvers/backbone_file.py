"""The frozen front as the file of a bundle, in 32 bits or, a quarter as large, in 8."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from reverie.device_runtime.engine.graph import Graph
from reverie.export.graphs import graphs, onnx_export
from reverie.export.graphs.quiet import quiet_stderr
from reverie.export.solvers.backbone import Front

CALIBRATED = 200
"""Images by which the ranges of what flows between the layers are set."""


def backbone_model(front: Front) -> onnx.ModelProto:
    """Image (N, *image shape) → features (N, *S), with its constants folded. Raises ExportError."""
    example = {"image": torch.zeros(2, *front.image_shape)}
    model = onnx_export.folded(onnx_export.to_onnx(graphs.ServingBackbone(front.module), example, ("features",)))
    onnx_export.strip_metadata(model)
    return model


def quantised(model: onnx.ModelProto, images: Iterable[np.ndarray]) -> bytes:
    """The file of `model` with its convolutions in 8 bits; `images` (N, *image shape), in parts, set the ranges.

    Weights are signed and have a scale for each channel, activations unsigned; one bit less than 8, so that sums of
    products fit the 16 bits that processors without VNNI add them in.
    """
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch) / "before.onnx", Path(scratch) / "after.onnx"
        onnx.save(model, before)
        with quiet_stderr():
            quantize_static(
                before,
                after,
                _Images(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Add"],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        small = onnx.load(after)
    small.ir_version = onnx_export.IR_VERSION
    onnx_export.strip_metadata(small)
    content: bytes = small.SerializeToString(deterministic=True)
    return content


def features_of(content: bytes, images: Iterable[np.ndarray]) -> np.ndarray:
    """Features (N, *S) that the file of a backbone makes of `images` (N, *image shape), in parts."""
    graph = Graph(content)
    return np.concatenate([graph.run({"image": part})["features"] for part in images])


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """One image at a time."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._rows: Iterator[np.ndarray] = (part[at : at + 1] for part in images for at in range(len(part)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """What the model is fed next; None at the end."""
        row = next(self._rows, None)
        return None if row is None else {"image": row}
