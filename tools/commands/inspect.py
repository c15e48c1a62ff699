"""`reverie inspect`: what a bundle holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from reverie.device_runtime.bundle.manifest import GAUSSIANS, STATISTICS, Manifest
from reverie.tools.display import describe_backbone, describe_canary, describe_preprocessing, describe_rehearsal
from reverie.tools.doubts import doubts
from reverie.tools.options import json_option


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
def command(bundle: Path, as_json: bool) -> None:
    """Verify every file of BUNDLE and show its classes, models and how they compare with torch."""
    from reverie.device_runtime.changes.verification import verify_bundle

    manifest, _ = verify_bundle(bundle, None)
    if as_json:
        click.echo(manifest.to_json(), nl=False)
        return
    console = Console()
    total = sum(record.size for record in manifest.files.values())
    console.print(
        f"{manifest.name}, format {manifest.format}, made {manifest.created}, {total / 1e6:.1f} MB", markup=False
    )
    console.print(f"family: {manifest.family}", markup=False, highlight=False)
    console.print(
        f"classes: {', '.join(manifest.classes)}, and {manifest.slots - len(manifest.classes)} spare", markup=False
    )
    console.print(f"input: {describe_preprocessing(manifest.preprocessing)}", markup=False)
    beside = _preprocessing_beside(manifest.unknown.get("measured"))
    if beside:
        console.print(beside, markup=False, highlight=False)
    for doubt in doubts(manifest.classes, manifest.unknown.get("measured")):
        console.print(doubt, style="yellow", markup=False, highlight=False)
    if manifest.backbone is not None:
        console.print(describe_backbone(manifest), markup=False)
    console.print(describe_canary(manifest))
    for line in describe_rehearsal(manifest.rehearsal):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    models = Table("model", "parameters")
    for name, tensors in manifest.tensors.items():
        count = 0
        for tensor_name, tensor in tensors.items():
            size = 1
            for side in tensor.shape:
                size *= side
            count += 0 if tensor_name == "active" else size
        models.add_row(name, f"{count:,}")
    console.print(models)
    console.print(_what_learns(manifest), markup=False, highlight=False)
    compared = Table("artifact", "largest relative difference from torch", "at")
    for artifact, figures in manifest.parity.items():
        compared.add_row(artifact, f"{figures['relative']:.1e}", figures["at"])
    console.print(compared)
    console.print("every file matches its hash")


def _preprocessing_beside(measured: object) -> str:
    """How the preprocessing compares with the provider's own, or "" where that was not measured."""
    figures = measured.get("preprocessing") if isinstance(measured, dict) else None
    try:
        return (
            f"preprocessing beside {figures['callable']} on {figures['photographs']} photographs: on average within "
            f"{figures['mean']:.2%} of the range ({figures['at']}), at most {figures['largest']:.1%} off in one value"
        ) if figures else ""  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return ""


def _what_learns(manifest: Manifest) -> str:
    """What of the solver changes on the device, and from what."""
    kept, beside, gaussians = manifest.statistics, manifest.hidden, manifest.gaussians
    size = manifest.files[STATISTICS].size / 1e6 if manifest.kept_features else 0.0
    if beside is not None:
        return (
            f"{_what_trains(manifest.training)}\nstatistics of the {beside.size} values of each class that enter its "
            f"last layer, {size:.1f} MB, begin new classes of few frames, shrunk by {beside.epsilon:g}"
        )
    if gaussians is not None:
        return (
            f"{_what_trains(manifest.training)}\na Gaussian of each class on {manifest.features:,} features, with "
            f"{gaussians.rank} directions, {manifest.files[GAUSSIANS].size / 1e6:.1f} MB in all, draws what is replayed"
        )
    if kept is None:
        return _what_trains(manifest.training)
    return (
        f"statistics of {manifest.noise_size} features of each class, {size:.1f} MB, give the solver on the device, "
        f"shrunk by {kept.epsilon:g}{_heads(manifest.unknown.get('measured'))}"
    )


def _heads(measured: object) -> str:
    """How well that does, and the provider's own head beside it; "" where it was not measured."""
    heads = measured.get("heads") if isinstance(measured, dict) else None
    try:
        said = f": {heads['statistics']:.1%} of the historical images right by cross-validation" if heads else ""
        return said + (f", {heads['given']:.1%} with the head that was given" if heads and "given" in heads else "")
    except (KeyError, TypeError, ValueError):
        return ""


def _what_trains(training: dict[str, Any]) -> str:
    if not training:
        return "what of the solver trains on the device is not stated"
    share = training["parameters"] / max(training["of"], 1)
    return (
        f"on the device {training['rule']} of the solver trains: {training['parameters']:,} of {training['of']:,} "
        f"parameters ({share:.1%}), {training['compute']:.1%} of its compute"
    )
