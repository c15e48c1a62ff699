"""Each network is traced once in a run of the tests, whichever tests and workers export it.

`torch.onnx.export` is nearly all of the time of an export, and most exports of these tests differ in one network of
three. What it made is kept beside the temporary folders of the run and given again for a module that is the same in
all that a trace depends on: the sources of its classes and of what these import, its attributes, tensors and examples.
A module of which that cannot be told is traced again each time.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import os
import sys
import types
from pathlib import Path

import onnx
import pytest
import torch
from torch.onnx._internal.exporter import _registration

from reverie.export.graphs import onnx_export

LIBRARIES = tuple({str(Path(module.__file__).parents[1]) for module in (torch, os, onnx)})
TORCHS_OWN = torch.onnx.export
PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.memory_format, enum.Enum)


TOLD = {"_parameters", "_buffers", "_modules", "training"}
"""Attributes of a module that are told otherwise, or set before it is traced."""


class UnknownError(Exception):
    """It cannot be told what a trace of this would depend on."""


@pytest.fixture(scope="session", autouse=True)
def _traced_once(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "traces"
    folder.mkdir(exist_ok=True)
    trace = onnx_export.to_onnx

    def traced(module, example, *how):
        try:
            said = identity(module, example, *how) if torch.onnx.export is TORCHS_OWN else ""
        except UnknownError:
            said = ""
        kept = folder / said
        if said and kept.exists():
            module.eval()
            return onnx.load_from_string(kept.read_bytes())
        model = trace(module, example, *how)
        if said:
            own = folder / f"{said}.{os.getpid()}"
            own.write_bytes(model.SerializeToString())
            own.rename(kept)  # another worker may have made the same meanwhile
        return model

    opsets = _registration.onnxscript_apis
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "to_onnx", traced)
        # The same list for each trace, of which torch makes a new one: a fifth of the time of a small network.
        patch.setattr(opsets, "get_torchlib_ops", functools.cache(opsets.get_torchlib_ops))
        yield


def identity(module, example, outputs, unbatched=()):
    """A digest of all that a trace depends on. Raises UnknownError."""
    said = hashlib.sha256()

    def tell(*words):
        said.update(repr(words).encode())

    tell(tuple(outputs), sorted(unbatched), [(name, x.shape, x.dtype) for name, x in example.items()])
    sources = {onnx_export}
    for name, part in module.named_modules(remove_duplicate=False):
        kind = type(part)
        if kind.__module__ not in sys.modules or "<locals>" in kind.__qualname__:
            raise UnknownError(kind)
        own = {key: plain(value) for key, value in vars(part).items() if key not in TOLD}
        tell(name, kind.__module__, kind.__qualname__, sorted(own.items()))
        sources.add(sys.modules[kind.__module__])
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    places = {}
    for name, tensor in tensors:
        tell(name, tensor.shape, tensor.dtype, tensor.requires_grad, places.setdefault(id(tensor), len(places)))
        said.update(tensor.detach().contiguous().numpy().tobytes())
    for source in sorted(sources, key=lambda one: one.__name__):
        tell(source.__name__, *known(source))
    return said.hexdigest()


def known(module):
    """Sources of a module of ours or of a test, and of what it imports; and its constants, which a test may change."""
    if is_library(module):
        return
    yield content(module)
    for name, value in sorted(vars(module).items()):
        if isinstance(value, PLAIN) and not name.startswith("__"):
            yield name, value
        of = getattr(value, "__module__", None) or ""
        other = value if isinstance(value, types.ModuleType) else sys.modules.get(of)
        if other is not None and other is not module and not is_library(other):
            yield name, content(other)


def is_library(module):
    file = getattr(module, "__file__", None)
    return file is None or file.startswith(LIBRARIES)


def content(module):
    return hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()


def plain(value):
    """What can be told of an attribute: numbers, words, collections of these, and what a library calls by a name."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, dict):
        return sorted((repr(key), plain(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    of = getattr(value, "__module__", None) or "torch"  # builtin functions name none
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)) and of.startswith("torch"):
        return f"{value.__module__}.{value.__qualname__}"
    raise UnknownError(type(value))
