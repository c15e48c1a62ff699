"""The forms of an update that `reverie bench accuracy` compares, each a change of the default configuration.

"dgr" is deep generative replay, stages 1, 2 and 6 alone: hard labels, the classes' ratio as weights, noise as the
generator was trained with (Shin et al., "Continual learning with deep generative replay", NeurIPS 2017); its steps are
at most those of the default. "control" is the default but for its synthesis: fresh generated inputs in the place of
the synthesised ones, with the same steps and weights. "more replay" takes the weight of the synthesised inputs for
replay's own, with the same steps; since synthesised inputs stand for known classes, it is compared with lower weights
of live images too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from reverie.device_runtime.config import LOSSES, UpdateConfig

Form = Callable[[UpdateConfig], UpdateConfig]


def changed(**values: Any) -> Form:
    """The configuration with some values of its parts replaced, named `part__name` or `part__part__name`."""

    def change(config: UpdateConfig) -> UpdateConfig:
        for path, value in values.items():
            config = _replaced(config, path.split("__"), value)
        return config

    return change


def _without_synthesis(config: UpdateConfig) -> UpdateConfig:
    """All of its steps in stage 2."""
    steps = config.fine_tune.steps + config.retrain.fit.steps
    return changed(synthesis__count=0, fine_tune__steps=steps)(config)


def _dgr(config: UpdateConfig) -> UpdateConfig:
    plain = changed(replay__soft_labels=False, replay__temperature=1.0, **_NARROW)
    return plain(_without_synthesis(config))


def _more_replay(live: float) -> Form:
    """The last stage of training the solver without the synthesised inputs, of which a single one is made."""

    def change(config: UpdateConfig) -> UpdateConfig:
        replay = config.retrain.replay + config.retrain.synthesised
        mixed = {"retrain__replay": replay, "retrain__live": live, "retrain__synthesised": 0.0}
        return changed(synthesis__count=1, synthesis__steps=0, **mixed)(config)

    return change


_NARROW: Mapping[str, Any] = {"replay__noise_spread": 1.0, "generative__noise_spread": 1.0}
_LITERAL = UpdateConfig().literal().synthesis
_IMAGES: Mapping[str, Any] = {
    f"synthesis__{name}": getattr(_LITERAL, name) for name in ("search", "steps", "learning_rate")
}
"""The search of the literal form."""

FORMS: dict[str, Form] = {
    "dgr": _dgr,
    "literal": UpdateConfig.literal,
    "control": changed(synthesis__steps=0),
    "default": changed(),
}

ABLATIONS: dict[str, dict[str, Form]] = {
    "labels": {
        "hard labels": changed(replay__soft_labels=False),
        "soft labels, T = 1": changed(replay__temperature=1.0),
    },
    "ratio": {f"{ratio:g} generated a live one": changed(replay__per_live=ratio) for ratio in (1.0, 2.0, 6.0)},
    "replay": {
        "not balanced": changed(replay__balance=False),
        "unsure inputs rejected": changed(replay__min_confidence=0.8),
        "noise as trained": changed(**_NARROW),
    },
    "augmentation": {"images where they are": changed(fine_tune__shift=0.0, retrain__fit__shift=0.0)},
    "statistics": {
        "trained by gradients": changed(closed_form=False),
        "stages 3 to 5 after solving": changed(synthesis__after_solving=True),
    },
    "synthesis": {
        "without synthesis": _without_synthesis,
        "control": FORMS["control"],
        **{f"more replay, live {live:g}": _more_replay(live) for live in (2.0, 1.5, 1.0)},
        **{f"loss {loss}": changed(synthesis__loss=loss) for loss in LOSSES if loss != "interference"},
        "live references": changed(synthesis__references="live"),
        "all references": changed(synthesis__references="all"),
        "images from random": changed(**_IMAGES),
        "images from generated": changed(**_IMAGES, synthesis__start="generated"),
        "reference as label": changed(synthesis__label="reference"),
        "synthesised inputs alone": changed(retrain__replay=0.0, retrain__live=0.0),
    },
    "generator": {
        "generator as it was": changed(generative__steps=0),
        "generator without the previous one": changed(generative__replay_as_live=False, generative__anchor=0.0),
        "adversarial loss alone": changed(
            generative__replay_as_live=False,
            generative__anchor=0.0,
            generative__reconstruction=0.0,
            generative__class_consistency=0.0,
        ),
    },
}
"""Groups of rows, each the default but for one choice."""


def all_forms() -> dict[str, Form]:
    """Every form by its name."""
    return FORMS | {name: form for group in ABLATIONS.values() for name, form in group.items()}


def _replaced(part: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return dataclasses.replace(part, **{name: _replaced(getattr(part, name), rest, value) if rest else value})
