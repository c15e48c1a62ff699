"""What is measured of an update, as numbers of inputs of each class that are right before it and after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Inputs of one class, and how many of them are right: under the previous solver and under the updated one.

    What is right of a generated input is what the previous solver says.
    """

    label: str
    of: int
    before: int
    after: int
    lost: int = 0
    """Of those that were right before, how many are wrong after."""

    @property
    def won(self) -> int:
        """Of those that were wrong before, how many are right after."""
        return self.after - self.before + self.lost


@dataclass(frozen=True)
class GeneratorFigures:
    """The generator before and after, both as the updated solver sees them."""

    finite: bool
    known: tuple[Counts, ...]
    """By known class: inputs generated for it, and how many are of it."""
    new: tuple[Counts, ...]
    """The same of new classes, which the previous generator does not show."""


@dataclass(frozen=True)
class Figures:
    """All that was measured of an update but whether it answers from its written files."""

    finite: bool
    """Whether all weights of the updated solver are."""
    held_out: tuple[Counts, ...]
    """By label of this update; `before` is 0 for new ones."""
    learnt: tuple[Counts, ...]
    """By new label: the frames that were learnt."""
    unseen: tuple[int, ...]
    """Of the held-out frames of each label, those that are no copies of frames that were learnt."""
    contradicted: int
    """Held-out frames for which the updated solver is sure of another label of this update."""
    generated: tuple[Counts, ...]
    """By known class: inputs of the previous generator."""
    canary: tuple[Counts, ...]
    """By known class: the provider's own examples; empty where the bundle has none."""
    milliseconds: tuple[float, float]
    """One prediction of the previous and of the updated solver, one as undisturbed as the other."""
    each_left_out: bool
    """Whether the held-out frames are those that were learnt, each judged by what the others gave."""
    generator: GeneratorFigures | None
    """None where class statistics or Gaussians generate: they are sums, and go with the solver."""
