"""Solver, generator and discriminator in torch → a bundle that trains on a box.

Each graph is exported, refused if an operator cannot train, turned into what the device runs, compared with
torch on random inputs of two batch sizes, and only then written. The bundle appears whole or not at all.
"""

from __future__ import annotations

import copy
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import fingerprint, training_parts
from reverie.device_runtime.bundle.manifest import (
    BACKBONE,
    BETAS,
    CANARY,
    MANIFEST,
    SAMPLING,
    SIGNATURE,
    Manifest,
    TensorRecord,
    blocked_form,
)
from reverie.device_runtime.bundle.parsing import parse_manifest
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.engine.graph import Graph, block_size
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.errors import ExportError
from reverie.export.canary import add_canary, canary_files
from reverie.export.graphs import artifacts, graphs, onnx_export, parity
from reverie.export.graphs.chunks import ACTIVATIONS_SAMPLING, ACTIVATIONS_SYNTHESIS, chunk_rows
from reverie.export.graphs.examples import Examples, unbatched
from reverie.export.lowering import operators
from reverie.export.output import new_folder, require_new
from reverie.export.packing import pack
from reverie.export.rewriting import rewriting
from reverie.export.solvers import batch_statistics
from reverie.export.solvers.backbone import Front
from reverie.export.solvers.factories import IgnoringCode, require_shape
from reverie.export.solvers.trainable import select


@dataclass(frozen=True)
class Networks:
    """What is exported. All three are built for `slots` classes, of which the first have names.

    `front` makes their inputs out of images; without one, inputs are the preprocessed images.
    """

    solver: nn.Module
    generator: nn.Module
    discriminator: nn.Module
    name: str
    classes: tuple[str, ...]
    slots: int
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing
    front: Front | None = None
    train: str = "all"
    """Which parameters of the solver train, see `trainable.select`."""
    family: str = ""
    """Of models that can take each other's place on a box; the name unless given."""
    measured: dict[str, Any] = field(default_factory=dict)
    compared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was compared before the export, as it stands among the parity figures of the manifest."""
    canary: Path | None = None
    """Class-named folders of images of the known classes, on which no update may do much worse."""

    @property
    def noise_size(self) -> int:
        """Length of the generator's noise, which a generator states as its attribute `noise_size`."""
        size = getattr(self.generator, "noise_size", None)
        if not isinstance(size, int) or size < 1:
            raise ExportError("the generator does not say how much noise it takes: give it an int `noise_size`")
        return size


def export_bundle(
    networks: Networks, output: Path, progress: Callable[[str], None], key: Path | None = None
) -> Manifest:
    """Write the bundle `output`, a folder or a .zip, which must not exist; the private `key` signs it.

    Raises ExportError, SignatureError and leaves nothing behind.
    """
    require_new(output)
    if key is not None:
        signing.sign(b"", key)  # a key that cannot sign is told before the work
    with new_folder(output, pack if output.suffix == ".zip" else Path.rename) as work:
        manifest = _Exporter(networks, work, progress).write()
        text = manifest.to_json().encode()
        parse_manifest(text, output)
        (work / MANIFEST).write_bytes(text)
        if key is not None:
            (work / SIGNATURE).write_bytes(signing.sign(text, key))
    return manifest


class _Exporter:
    """Writes one bundle; holds the example inputs and the figures gathered on the way."""

    def __init__(self, networks: Networks, folder: Path, progress: Callable[[str], None]) -> None:
        self.networks = networks
        self.folder = folder
        self.progress = progress
        self.parity = dict(networks.compared)
        self.chunks: dict[str, int] = {}
        """Rows of a batch that are computed at a time, by network or search; none whose rows depend on one another."""
        self.tensors: dict[str, dict[str, TensorRecord]] = {}

    def write(self) -> Manifest:
        n = self.networks
        self.check_shapes()
        if n.canary is not None:
            canary_files(n.canary, n.classes, n.input_shape)  # refused before the work
        whole, shape = (n.front.whole, n.front.image_shape) if n.front else (n.solver, n.input_shape)
        self.examples = Examples(n.input_shape, shape, n.noise_size, len(n.classes), n.slots)
        self.trainable = select(whole, n.train, torch.zeros(2, *shape), dict(n.solver.named_parameters()))
        if n.front:
            self.write_backbone(n.front)
        self.write_serving(
            "solver", graphs.ServingSolver(n.solver, n.slots, len(n.classes)), ("logits", "probabilities")
        )
        training = batch_statistics.SolverTrainingOnBatches(n.solver)
        self.write_training("solver", training, batch_statistics.outputs(training))
        self.write_training("discriminator", graphs.DiscriminatorTraining(n.discriminator), ("loss",))
        self.write_training(
            "generator",
            graphs.GeneratorTraining(n.generator, n.discriminator, n.solver),
            ("loss", "generated"),
        )
        self.write_serving("generator", graphs.ServingGenerator(n.generator), ("generated",))
        self.write_serving("discriminator", graphs.ServingDiscriminator(n.discriminator), ("verdict",))
        pair = graphs.SynthesisLoss(copy.deepcopy(n.solver), self.perturbed_solver())
        self.write_synthesis("image", graphs.ImageSynthesis(pair), "input", ("loss", "each"))
        self.write_synthesis("noise", graphs.NoiseSynthesis(pair, n.generator), "noise", ("loss", "each", "generated"))
        if n.canary is not None:
            self.progress(CANARY)
            add_canary(self.folder, self.manifest(), n.canary)
        return self.manifest()

    def write_backbone(self, front: Front) -> None:
        self.progress(BACKBONE)
        module = graphs.ServingBackbone(front.module)
        model = onnx_export.folded(self.to_onnx(module, ("features",)))
        onnx_export.strip_metadata(model)
        content = model.SerializeToString(deterministic=True)
        graph = Graph(content)
        self.compare(BACKBONE, lambda example: parity.output_difference(graph, module, example), module)
        (self.folder / BACKBONE).write_bytes(content)

    def write_serving(self, name: str, module: nn.Module, outputs: tuple[str, ...]) -> None:
        self.progress(f"{name}.onnx")
        model = self.to_onnx(module, outputs)
        if name != "solver":  # which stays as it came
            rewriting.faster(model)
        if name == "generator" and name in self.chunks:
            self.chunks[SAMPLING] = chunk_rows(model, _parameters(module), ACTIVATIONS_SAMPLING)
        onnx_export.strip_metadata(model)
        content = model.SerializeToString(deterministic=True)
        names = [n for n, _ in module.named_parameters()] + (["active"] if name == "solver" else [])
        self.tensors[name] = artifacts.tensor_places(content, names)
        graph = Graph(content)
        self.compare(f"{name}.onnx", lambda example: parity.output_difference(graph, module, example), module)
        (self.folder / f"{name}.onnx").write_bytes(content)

    def write_training(self, name: str, module: nn.Module, outputs: tuple[str, ...]) -> None:
        self.progress(f"{name}_train")
        model = self.to_onnx(module, outputs)
        weights = {n: p.detach().numpy().copy() for n, p in module.named_parameters()}
        trained = [n for n in weights if n.startswith(f"{name}.")]
        if name == "solver":
            trained = [n for n in trained if n.removeprefix("solver.") in self.trainable.names]
        rows = chunk_rows(model, _parameters(module))
        operators.make_trainable(model, set(trained))
        fed = {n: value for n, value in weights.items() if not n.startswith(f"{name}.")}
        onnx_export.weights_to_inputs(model, fed)
        folder = self.folder / f"{name}_train"
        artifacts.write_training(model, trained, BETAS[name], folder)
        forms = [training_parts(folder, block) for block in {1, block_size()}]

        def compare(chunk: int | None) -> parity.Compare:
            steps = [TrainStep(parts, weights, folder.name, chunk=chunk) for parts in forms]
            return lambda example: parity.worst(
                parity.training_difference(step, module, example, trained, fed) for step in steps
            )

        in_parts = compare(2)
        if parity.is_same_in_parts(in_parts, partial(self.examples.of, module)):
            self.chunks[name] = rows
            self.compare(folder.name, in_parts, module)
        else:
            self.compare(folder.name, compare(None), module)

    def write_synthesis(self, name: str, module: nn.Module, wanted: str, outputs: tuple[str, ...]) -> None:
        path = f"synthesis_{name}.onnx"
        self.progress(path)
        model = self.to_onnx(module, outputs)
        weights = {n: p.detach().numpy() for n, p in module.named_parameters()}
        if {"solver", "generator"} <= self.chunks.keys():
            self.chunks[f"synthesis_{name}"] = chunk_rows(model, _parameters(module), ACTIVATIONS_SYNTHESIS)
        operators.make_trainable(model, {wanted})
        model = artifacts.input_gradient(model, wanted)
        graphs_here = []
        for form_path, form in rewriting.forms(model, path).items():
            onnx_export.weights_to_injected(form, weights)
            onnx_export.strip_metadata(form)
            content = form.SerializeToString(deterministic=True)
            (self.folder / form_path).write_bytes(content)
            if form_path in {path, blocked_form(path, block_size())}:
                graphs_here.append(Graph(content, weights))
        self.compare(
            path,
            lambda example: parity.worst(
                parity.input_gradient_difference(graph, module, example, wanted) for graph in graphs_here
            ),
            module,
        )

    def compare(self, artifact: str, compare: parity.Compare, module: nn.Module) -> None:
        """Note the worst figure. Raises ExportError where it is beyond the tolerance."""
        seen = parity.require_same(artifact, compare, partial(self.examples.of, module))
        self.parity[artifact] = parity.figures(seen, parity.BATCHES)

    def to_onnx(self, module: nn.Module, outputs: tuple[str, ...]) -> onnx.ModelProto:
        return onnx_export.to_onnx(module, self.examples.of(module, 2), outputs, unbatched(module))

    def statistics(self) -> dict[str, Any]:
        """Running statistics that follow the batches on the device, for the manifest."""
        momenta = batch_statistics.statistics(self.networks.solver)
        return {"statistics": {f"solver.{name}": momentum for name, momentum in momenta.items()}} if momenta else {}

    def perturbed_solver(self) -> nn.Module:
        """A second solver that differs from the first, so that comparing the synthesis graphs means something."""
        other = copy.deepcopy(self.networks.solver)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(1 + 0.2 * torch.randn(parameter.shape, generator=self.examples.draw))
        return other

    def check_shapes(self) -> None:
        """The three networks must fit together before anything is exported."""
        n = self.networks
        for count in (2, 1):
            inputs, code = torch.zeros(count, *n.input_shape), torch.eye(n.slots)[:count]
            require_shape("solver", n.solver, (inputs,), (count, n.slots))
            require_shape("generator", n.generator, (torch.zeros(count, n.noise_size), code), (count, *n.input_shape))
            require_shape("discriminator", n.discriminator, (inputs, code), (count,))

    def manifest(self) -> Manifest:
        n = self.networks
        files = {
            path.relative_to(self.folder).as_posix(): fingerprint(path.read_bytes())
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        created = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
        tools = {name: version(name) for name in ("reverie", "torch", "onnx", "onnxscript", "onnxruntime-training-cpu")}
        return Manifest(
            name=n.name,
            family=n.family or n.name,
            created=created.isoformat(timespec="seconds"),
            classes=n.classes,
            slots=n.slots,
            input_shape=n.input_shape,
            noise_size=n.noise_size,
            conditional=not isinstance(n.generator, IgnoringCode),
            preprocessing=n.preprocessing,
            files=files,
            tensors=self.tensors,
            backbone=n.front.described if n.front else None,
            training=self.trainable.to_json() | self.statistics() | {"chunks": self.chunks},
            parity=self.parity,
            tools=tools | {"python": platform.python_version()},
            unknown={"measured": n.measured} if n.measured else {},
        )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
