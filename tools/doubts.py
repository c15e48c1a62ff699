"""What of pretrained networks a box would not learn well with, by the figures that pretraining measured."""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 0.5
"""Share of a class's validation images that are right, and of its even share of what the generator makes."""


def doubts(classes: Sequence[str], measured: object) -> list[str]:
    """Warnings, each one sentence; none where nothing was measured, or where it is not what pretraining writes."""
    figures = measured if isinstance(measured, dict) else {}
    unrecognised = _below(classes, figures.get("class_accuracy"), LEAST)
    unmade = _below(classes, figures.get("class_coverage"), LEAST / max(len(classes), 1))
    told = []
    if unrecognised:
        longer = "" if figures.get("heads") else "longer (--solver-epochs), or "
        told.append(
            f"warning: the solver recognises less than half of the validation images of {', '.join(unrecognised)}: "
            f"pretrain {longer}with more images of them"
        )
    if unmade:
        told.append(
            f"warning: the generator makes less than half its share of {', '.join(unmade)}, and a box cannot rehearse "
            "what it does not make: pretrain longer (--gan-steps) or from another --seed"
        )
    return told


def _below(classes: Sequence[str], shares: object, least: float) -> list[str]:
    if not isinstance(shares, list | tuple) or not all(isinstance(share, int | float) for share in shares):
        return []
    return [label for label, share in zip(classes, shares, strict=False) if share < least]
