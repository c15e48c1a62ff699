"""A rehearsal from its first update to its last: first the choices, then the bounds, as far as the time allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reverie.device_runtime.bundle.manifest import Manifest
from reverie.device_runtime.bundle.rehearsal import Rehearsal
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import FramesError, TrainingError
from reverie.device_runtime.method.few_frames import ENOUGH
from reverie.device_runtime.method.models import Models, models_of
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.update import as_rehearsed
from reverie.tools.bench.harm.honest import HONEST, new_classes
from reverie.tools.bench.harm.kinds import Make
from reverie.tools.bench.harm.wrong import WRONG
from reverie.tools.rehearsal import learning
from reverie.tools.rehearsal.hiding import most_hidden, without_last
from reverie.tools.rehearsal.images import MOST_SHOWN, HeldOut, read_held_out
from reverie.tools.rehearsal.playing import Played, play

KINDS: Mapping[str, Make] = HONEST | WRONG
PLAYED = (
    "new, 60 frames", "known under a new name", "new, 20 frames", "known as another", "new and known",
    "two known swapped", "all known, in new light", "new as known", "new, 5 frames", "20 % random labels",
    "new, in new light", "40 % random labels", "all known again", "20 % of a new are a known", "known, in new light",
    "20 % of a known as another", "one new, 20 frames", "30 % of two new exchanged", "known, blurred",
)  # fmt: skip
"""In this order, so that few tell of many kinds. What the intake refuses whatever the model is not among them."""
ROUNDS = 3
HIDDEN = 2
"""Classes that are hidden at most: those that are left must still be many."""
CHOICE_SHARE = 0.5
"""Of the time, for the choices."""
SLOWER = 0.5
"""The learning rate that is tried in the place of the default, as a share of it."""

Told = Callable[[str], None]


def rehearse(
    folder: Path, manifest: Manifest, images: Path, minutes: float = 15, seed: int = 0, told: Told = lambda _: None
) -> Rehearsal:
    """Play updates of the bundle in `folder` with `images`, folders of held-out images by class.

    No update begins after `minutes`. `told` hears of each. Raises FramesError, BundleError.
    """
    files = {name: (folder / name).read_bytes() for name in manifest.changing}
    models = models_of(folder, replace(manifest, rehearsal=None), manifest.classes, files)
    make = InputMaker(folder, manifest)
    rehearsal = _Rehearsal(
        models, make, read_held_out(images, models, make), seed, told, time.monotonic() + 60 * minutes
    )
    return rehearsal.run()


@dataclass
class _Rehearsal:
    """Counts the updates, and holds what all of them need."""

    models: Models
    make: InputMaker
    held_out: HeldOut
    seed: int
    told: Told
    until: float
    updates: int = 0
    found: list[Played] = field(default_factory=list)

    def run(self) -> Rehearsal:
        """All of it. Raises FramesError where no update can be played."""
        chosen = Rehearsal(0, self.held_out.size)
        if self.models.statistics is None:
            chosen = self.choose(chosen)
        config = as_rehearsed(UpdateConfig(seed=self.seed), chosen)
        for kind, make_frames, hidden in self.plan():
            if time.monotonic() > self.until and len(self.found) >= len(PLAYED) // 2:
                break
            self.found += self.played([(kind, make_frames, hidden)], config)
        if not self.found:
            raise FramesError("no update could be rehearsed with these images: add classes, or images of each")
        return replace(chosen, updates=self.updates, bounds=learning.bounds(self.found))

    def plan(self) -> Iterator[tuple[str, Make, int]]:
        """Kind, what makes its frames, and how many classes are hidden."""
        others = set(self.held_out.shown) - set(self.models.classes)
        least = 0 if others else 1
        most = max(least, min(HIDDEN, most_hidden(self.models)))
        for turn in range(ROUNDS):
            for at, kind in enumerate(PLAYED):
                hidden = least + (turn + at) % (most - least + 1)
                yield f"{kind}, {turn}", KINDS[kind], min(hidden, most_hidden(self.models))

    def choose(self, chosen: Rehearsal) -> Rehearsal:
        """Whether the synthesis runs, and how fast stage 2 learns, where updates of truly new classes tell.

        Hidden ones would not: a solver whose layers have seen a class needs less training for it than for others.
        """
        others = [label for label in self.held_out.shown if label not in self.models.classes]
        if not others:
            self.told("no choices: they take images of classes that the bundle does not know")
            return chosen
        now = time.monotonic()
        until = now + CHOICE_SHARE * (self.until - now)
        default = UpdateConfig(seed=self.seed)
        many = [(f"new, {MOST_SHOWN} frames, {turn}", new_classes(MOST_SHOWN), 0) for turn in range(2)]
        few = [(f"new, 20 frames, choice {turn}", new_classes(20), 0) for turn in range(2)]
        shown = min(len(self.held_out.shown[label]) for label in others)
        if (1 - default.holdout) * shown >= ENOUGH:
            off = replace(default, synthesis=replace(default.synthesis, count=0))
            gain = self.compare("synthesis", many, default, off)
            chosen = replace(chosen, synthesis=gain >= 0, gains={"synthesis": gain})
        if time.monotonic() < until:
            slower = replace(default.fine_tune, learning_rate=SLOWER * default.fine_tune.learning_rate)
            gain = self.compare("half the learning rate", few, replace(default, fine_tune=slower), default)
            chosen = replace(chosen, gains=chosen.gains | {"half the learning rate": gain})
            chosen = replace(chosen, learning_rate=SLOWER if gain > 0 else 1.0)
        return chosen

    def compare(
        self, what: str, plan: Sequence[tuple[str, Make, int]], one: UpdateConfig, other: UpdateConfig
    ) -> float:
        """By how many points `one` is better, or 0 where that could be chance."""
        with_it, without = (self.played(plan, config) for config in (one, other))
        if not with_it or len(with_it) != len(without):
            return 0.0
        gain, error = learning.gain(with_it, without)
        self.told(f"{what}: {gain:+.2f} ± {error:.2f} points of all classes")
        return gain if abs(gain) > 2 * error else 0.0

    def played(self, plan: Sequence[tuple[str, Make, int]], config: UpdateConfig) -> list[Played]:
        """Each update of `plan` that there are enough classes and images for."""
        done = []
        for kind, make_frames, hidden in plan:
            began = time.monotonic()
            models = without_last(self.models, hidden, rng_for(self.seed, f"rehearsal: {kind}: hidden"))
            material = self.held_out.material(models)
            try:
                frames = make_frames(material, rng_for(self.seed, f"rehearsal: {kind}"))
                done.append(play(kind, models, self.make, frames, self.held_out.asked, config))
            except (FramesError, TrainingError) as error:
                self.told(f"{kind}: left out, {error}")
                continue
            self.updates += 1
            self.told(f"{_told(done[-1])} ({time.monotonic() - began:.1f} s)")
        return done


def _told(played: Played) -> str:
    measured = ", ".join(f"{name} {kept.share:.0%}" for name, kept in played.measured.items())
    harm = "harm" if played.harmful else "no harm"
    return f"{played.kind}: {harm}, {played.all.lost} lost, {played.all.won} won; {measured}"
