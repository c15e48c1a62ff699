"""What may name a class, on a box and in a bundle."""

from __future__ import annotations

import unicodedata

from reverie.device_runtime.errors import FramesError, ReverieError

LABEL_LENGTH = 64


def check_label(label: str, error: type[ReverieError] = FramesError) -> None:
    """Raise `error` unless `label` can name a class: short, printable, without path separators."""
    bad = [
        c for c in label if c in "/\\" or unicodedata.category(c) in {"Zl", "Zp"} or unicodedata.category(c)[0] == "C"
    ]
    if bad or not label.strip() or label != label.strip() or label in {".", ".."} or len(label) > LABEL_LENGTH:
        shown = label[: LABEL_LENGTH + 1]
        raise error(
            f"{shown!r} cannot be a label: use 1 to {LABEL_LENGTH} printable characters without / or \\, "
            "no spaces around them, and not . or .. alone"
        )


def check_labels(labels: tuple[str, ...], error: type[ReverieError]) -> None:
    """Raise `error` unless all of `labels` can name classes and no two are the same."""
    for label in labels:
        check_label(label, error)
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise error(f"{', '.join(twice)} names more than one class: give each a name of its own")
