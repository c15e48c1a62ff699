"""`reverie export` of a user's own networks, for tests to vary."""

from __future__ import annotations

import inspect
from pathlib import Path

import own_networks
import torch
from torch import nn


class Own:
    """`reverie export` of the user's networks in my_networks.py, each option of which a test may change."""

    def __init__(self, folder: Path, reverie, refused) -> None:
        self.folder = folder
        self._reverie, self._refused = reverie, refused
        torch.manual_seed(3)
        self.saved = {
            "solver": self.save("fixed", "solver.pt"),
            "generator": self.save("Maker", "generator.pt"),
            "discriminator": self.save("Judge", "discriminator.pt"),
        }

    def save(self, factory: str, file: str, classes: int = 3) -> nn.Module:
        """Save weights of one of the networks, with random values, and return it."""
        make = getattr(own_networks, factory)
        network = make(classes) if inspect.signature(make).parameters else make()
        torch.save(network.state_dict(), self.folder / file)
        return network

    def options(self, **changes: str | None) -> list[str]:
        options = {"output": "out", "classes": "cup,box,pen", "input-shape": "1,8,8", "solver": "my_networks:fixed"}
        options |= {"generator": "my_networks:Maker", "discriminator": "my_networks:Judge"}
        options |= {f"{name}-weights": f"{name}.pt" for name in self.saved}
        options |= {name.replace("_", "-"): value for name, value in changes.items()}
        return [part for name, value in options.items() if value is not None for part in (f"--{name}", value)]

    def export(self, **changes: str | None) -> Path:
        finished = self._reverie("export", *self.options(**changes))
        assert (finished.code, finished.err) == (0, "")
        assert "8 artifacts agree with torch" in finished.out
        return self.folder / "out"

    def refuse(self, **changes: str | None) -> str:
        return self._refused("export", *self.options(**changes))

    def refuse_solver(self, factory: str) -> str:
        """Export with another solver and weights that fit it."""
        self.save(factory, "other.pt")
        return self.refuse(solver=f"my_networks:{factory}", solver_weights="other.pt")
