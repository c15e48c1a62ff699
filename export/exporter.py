"""Solver, and generator and discriminator or what is kept of classes → a bundle that learns on a box.

Each graph is exported, refused if an operator cannot train, turned into what the device runs, compared with
torch on random inputs of two batch sizes, and only then written. The bundle appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import copy
import os
import platform
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import fingerprint, training_graph
from reverie.device_runtime.bundle.gaussians import write_gaussians
from reverie.device_runtime.bundle.manifest import (
    BACKBONE,
    BETAS,
    CANARY,
    GAUSSIANS,
    MANIFEST,
    SAMPLING,
    SIGNATURE,
    STATISTICS,
    Manifest,
    TensorRecord,
    blocked_form,
)
from reverie.device_runtime.bundle.parsing import parse_manifest
from reverie.device_runtime.bundle.statistics import write_statistics
from reverie.device_runtime.engine.graph import Graph, block_size
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.export.canary import add_canary, canary_files
from reverie.export.graphs import artifacts, graphs, onnx_export, parity, training_api
from reverie.export.graphs.chunks import ACTIVATIONS_SAMPLING, ACTIVATIONS_SYNTHESIS, chunk_rows
from reverie.export.graphs.examples import Examples, unbatched
from reverie.export.lowering import operators
from reverie.export.networks import Networks, require_fitting
from reverie.export.output import new_folder, require_new
from reverie.export.packing import pack
from reverie.export.rewriting import rewriting
from reverie.export.solvers import batch_statistics
from reverie.export.solvers.backbone import Front
from reverie.export.solvers.backbone_file import backbone_model
from reverie.export.solvers.factories import IgnoringCode
from reverie.export.solvers.trainable import select


def export_bundle(
    networks: Networks,
    output: Path,
    progress: Callable[[str], None],
    key: Path | None = None,
    training_artifacts: Path | None = None,
    rehearse: Callable[[Path, Manifest], Manifest] | None = None,
) -> Manifest:
    """Write the bundle `output`, a folder or a .zip, which must not exist; the private `key` signs it.

    `training_artifacts` is a folder that must not exist either: it becomes what onnxruntime's own API for training
    reads, which no box needs. `rehearse` plays updates with the bundle in a folder, and gives the manifest that it
    then has. Raises ExportError, SignatureError and leaves nothing behind.
    """
    require_new(output)
    if key is not None:
        signing.sign(b"", key)  # a key that cannot sign is told before the work
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(new_folder(output, pack if output.suffix == ".zip" else Path.rename))
        beside = None
        if training_artifacts is not None:
            require_new(training_artifacts)
            training_api.require_builder()
            beside = stack.enter_context(new_folder(training_artifacts, Path.rename))
        manifest = _Exporter(networks, work, progress, beside).write()
        if rehearse is not None:
            manifest = rehearse(work, manifest)
        text = manifest.to_json().encode()
        parse_manifest(text, output)
        (work / MANIFEST).write_bytes(text)
        if key is not None:
            (work / SIGNATURE).write_bytes(signing.sign(text, key))
    return manifest


class _Exporter:
    """Writes one bundle; holds the example inputs and the figures gathered on the way."""

    def __init__(
        self, networks: Networks, folder: Path, progress: Callable[[str], None], training_artifacts: Path | None
    ) -> None:
        self.networks = networks
        self.folder = folder
        self.training_artifacts = training_artifacts
        self.progress = progress
        self.parity = dict(networks.compared)
        self.chunks: dict[str, int] = {}
        """Rows of a batch that are computed at a time, by network or search; none whose rows depend on one another."""
        self.tensors: dict[str, dict[str, TensorRecord]] = {}

    def write(self) -> Manifest:
        n = self.networks
        require_fitting(n)
        if n.canary is not None:
            canary_files(n.canary, n.classes, n.input_shape)  # refused before the work
        image_shape = n.front.image_shape if n.front else n.input_shape
        self.examples = Examples(n.input_shape, image_shape, n.noise_size, len(n.classes), n.slots)
        cut = n.front if n.statistics is None else None
        whole, shape = (cut.whole, image_shape) if cut else (n.solver, n.input_shape)
        self.trainable = select(whole, n.train, torch.zeros(2, *shape), dict(n.solver.named_parameters()))
        if n.front:
            self.write_backbone(n.front)
        kept = n.last_layer.statistics if n.last_layer else n.statistics
        if kept is not None:
            (self.folder / STATISTICS).write_bytes(write_statistics(kept))
        if n.gaussians is not None:
            (self.folder / GAUSSIANS).write_bytes(write_gaussians(n.gaussians))
        head, outputs = (n.last_layer.path, ("hidden",)) if n.last_layer else (None, ())
        serving = graphs.ServingSolver(n.solver, n.slots, len(n.classes), head)
        self.write_serving("solver", serving, ("logits", "probabilities", *outputs))
        training = batch_statistics.SolverTrainingOnBatches(n.solver)
        self.write_training("solver", training, batch_statistics.outputs(training))
        pair = graphs.SynthesisLoss(copy.deepcopy(n.solver), self.perturbed_solver())
        if n.has_generator:
            self.write_generative(*n.pair)
        self.write_synthesis("image", graphs.ImageSynthesis(pair), "input", ("loss", "each"))
        if n.has_generator:
            module = graphs.NoiseSynthesis(pair, n.pair[0])
            self.write_synthesis("noise", module, "noise", ("loss", "each", "generated"))
        if n.canary is not None:
            self.progress(CANARY)
            add_canary(self.folder, self.manifest(), n.canary)
        return self.manifest()

    def write_generative(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.write_training("discriminator", graphs.DiscriminatorTraining(discriminator), ("loss",))
        module = graphs.GeneratorTraining(generator, discriminator, self.networks.solver)
        self.write_training("generator", module, ("loss", "generated"))
        self.write_serving("generator", graphs.ServingGenerator(generator), ("generated",))
        self.write_serving("discriminator", graphs.ServingDiscriminator(discriminator), ("verdict",))

    def write_backbone(self, front: Front) -> None:
        self.progress(BACKBONE)
        given = self.networks.backbone_file
        if given is not None:  # in 8 bits; how far its features are from those in 32 was measured with it
            (self.folder / BACKBONE).write_bytes(given.read_bytes())
            return
        module = graphs.ServingBackbone(front.module)
        content = backbone_model(front).SerializeToString(deterministic=True)
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
        artifacts.prepare(model, trained)
        if self.training_artifacts is not None:
            training_api.write(model, trained, BETAS[name], self.training_artifacts / name)
        artifacts.write_training(model, trained, folder)
        forms = [training_graph(folder, block) for block in {1, block_size()}]

        def compare(chunk: int | None) -> parity.Compare:
            steps = [TrainStep(form, weights, folder.name, chunk=chunk) for form in forms]
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
        if {"solver", *(["generator"] if self.networks.has_generator else [])} <= self.chunks.keys():
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

    def manifest(self) -> Manifest:
        n = self.networks
        files = {
            path.relative_to(self.folder).as_posix(): fingerprint(path.read_bytes())
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        created = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
        tools = {name: version(name) for name in ("reverie", "torch", "onnx", "onnxscript")}
        tools[installed_engine().name] = installed_engine().version
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
            statistics=n.kept,
            gaussians=n.drawn,
            hidden=n.last_layer.described if n.last_layer else None,
            training=self.trainable.to_json() | self.statistics() | {"chunks": self.chunks},
            parity=self.parity,
            tools=tools | {"python": platform.python_version()},
            unknown={"measured": n.measured} if n.measured else {},
        )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
