"""Every graph of a bundle on inputs that are drawn once, in the form for this processor: its results as .npz.

python every_graph.py BUNDLE RESULTS.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.method.models import models_of

ROWS = 6


def drawn(session, given):
    """What a session is fed: weights as `given`, all else from one random generator."""
    rng = np.random.default_rng(0)
    return {
        i.name: given[i.name]
        if i.name in given
        else rng.uniform(0.1, 1, [n if isinstance(n, int) else ROWS for n in i.shape]).astype(np.float32)
        for i in session.get_inputs()
    }


def results(bundle):
    """Graph and output → values."""
    manifest = read_manifest(bundle)
    files = {name: (bundle / name).read_bytes() for name in manifest.changing}
    models = models_of(bundle, manifest, manifest.classes, files)
    weights = models.solver | models.generator | models.discriminator
    for name in manifest.models:
        graph = Graph(models.model_file(name))
        yield from ((f"{name} {out}", value) for out, value in graph.run(drawn(graph._session, {})).items())
        step = models.train_step(name)
        outputs, gradients = step.gradients(drawn(step._session, weights))
        yield from ((f"{name}_train {out}", value) for out, value in (outputs | gradients).items())
    trained = {name: value * np.float32(1.1) for name, value in models.solver.items()}
    for search in ("image", "noise") if models.statistics is None else ("image",):
        graph = models.synthesis_graph(trained, search)
        feeds = drawn(graph._session, {})
        yield from ((f"synthesis_{search} {out}", value) for out, value in graph.run(feeds).items())


if __name__ == "__main__":
    np.savez(sys.argv[2], **dict(results(Path(sys.argv[1]))))
