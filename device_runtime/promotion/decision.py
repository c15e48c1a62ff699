"""Is the updated solver fit to serve? Decided from what was measured (`evaluation.py`), by one rule for all counts.

What must not have become worse is held to its bound as far as its number of inputs allows: it fails only if a solver
right at the bound does that badly with a probability below SURPRISE (an exact binomial test). What an update is for
must show: a new class must be recognised more often than chance recognises it, and an update of known classes alone
must win more than chance wins. So few frames prove nothing against what was known, and nothing for what is to serve.

The generator is judged on its own. If it alone fails, the updated solver serves with the generator that was there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from reverie.device_runtime.bundle.rehearsal import Rehearsal
from reverie.device_runtime.config import PromotionConfig
from reverie.device_runtime.promotion.evidence import PROVABLE, can_only_win_few, exceeds, falls_short
from reverie.device_runtime.promotion.figures import Counts, Figures
from reverie.device_runtime.promotion.kept import kept, passes, untold

ON_ALL = "held-out accuracy"


@dataclass(frozen=True)
class Check:
    """One requirement: what was measured, the bound it is held to, and what to say if it fails."""

    name: str
    measured: float | str
    bound: float | str
    passed: bool
    says: str
    label: str = ""
    """The label of this update that it is about, where it is about one."""


@dataclass(frozen=True)
class Decision:
    """Every check of the solver and of the generator."""

    solver: tuple[Check, ...]
    generator: tuple[Check, ...]
    without_replay: tuple[str, ...] = ()
    """New classes that the generator hardly shows: nothing but their own frames keeps them in the next update."""
    unknown: str = ""
    """What the measures of known classes are worth, where that is little or nobody rehearsed it."""

    @property
    def promoted(self) -> bool:
        """Whether the updated solver serves."""
        return all(check.passed for check in self.solver)

    @property
    def generator_promoted(self) -> bool:
        """Whether the updated generator and discriminator go with it, rather than the previous ones."""
        return all(check.passed for check in self.generator)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the solver does not serve."""
        return tuple(check.says for check in self.solver if not check.passed)

    @property
    def not_learnt(self) -> dict[str, str]:
        """Label of this update → why it was not learnt."""
        failed = [check for check in self.solver if check.label and not check.passed]
        return {check.label: check.says for check in reversed(failed)}

    def to_leave_out(self, new: Collection[str]) -> dict[str, str]:
        """The labels without which the others may serve: those not learnt, if they alone are what is wrong.

        None where no label that is `new` would be left.
        """
        wrong = [check for check in self.solver if not check.passed and not check.label and check.name != ON_ALL]
        return {} if wrong or not set(new) - self.not_learnt.keys() else self.not_learnt

    def with_answers(self, wrong: str) -> Decision:
        """With what became of loading it from its files in a process of its own: "", or what went wrong."""
        check = Check("answers from its files", wrong or "as in memory", "as in memory", not wrong, wrong)
        return dataclasses.replace(self, solver=(*self.solver, check))

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries."""
        return {
            "promoted": self.promoted,
            "reasons": list(self.reasons),
            "checks": [dataclasses.asdict(check) for check in self.solver],
            "unknown": self.unknown,
            "generator": {
                "promoted": self.generator_promoted,
                "checks": [dataclasses.asdict(check) for check in self.generator],
                "without_replay": list(self.without_replay),
            },
        }


def decide(figures: Figures, config: PromotionConfig, rehearsal: Rehearsal | None = None) -> Decision:
    """Hold what was measured to `config`, and to the bounds that a `rehearsal` of the bundle found."""
    solver = [
        Check("finite weights", str(figures.finite), "True", figures.finite, "its weights are not all numbers"),
        *_held_out(figures, config),
        *_kept(figures, config),
        *_as_rehearsed(figures, config, rehearsal),
        _latency(*figures.milliseconds, config),
    ]
    generator = figures.generator
    unknown = _unknown(figures, rehearsal)
    if generator is None:
        return Decision(tuple(solver), (), unknown=unknown)
    checks = [
        Check("finite weights", str(generator.finite), "True", generator.finite, "it makes inputs that are no numbers"),
        _not_down("class agreement", generator.known, config.agreement_drop, "inputs generated for known classes"),
        *_not_collapsed("class coverage", generator.known, config.collapse, "generated"),
    ]
    decision = Decision(tuple(solver), tuple(checks), unknown=unknown)
    shown = [c.label for c in generator.new if not falls_short(c.after, c.of, config.collapse)]
    missing = tuple(c.label for c in generator.new if c.label not in shown or not decision.generator_promoted)
    return dataclasses.replace(decision, without_replay=missing)


def _held_out(figures: Figures, config: PromotionConfig) -> list[Check]:
    """How well the frames of this update were learnt."""
    counts = [c for c in figures.held_out if c.of]
    if not counts:
        return []
    of = sum(c.of for c in counts)
    mean = sum(c.after / c.of for c in counts) / len(counts)
    learnt = not falls_short(round(mean * of), of, config.floor)
    checks = [
        Check(ON_ALL, mean, config.floor, learnt,
              f"it is right on {mean:.0%} of held-out frames, not {config.floor:.0%}"),
        _gain(figures, config.gain),
        *_recognised(figures, config.floor),
    ]  # fmt: skip
    for c in counts:
        passed = not falls_short(c.after, c.of, config.floor / 2)
        says = f"it is right on {c.after} of {c.of} held-out frames of {c.label}"
        checks.append(Check(f"held-out accuracy of {c.label}", c.after / c.of, config.floor / 2, passed, says, c.label))
    for c, unseen in zip(figures.held_out, figures.unseen, strict=True):
        if c.of:
            says = (
                f"all held-out frames of {c.label} are copies of frames it learnt, so nothing shows that it knows more"
            )
            checks.append(Check(f"frames of {c.label} that differ", unseen, 1, unseen > 0, says, c.label))
    sure = not exceeds(figures.contradicted, of, config.label_noise)
    share = figures.contradicted / of
    checks.append(
        Check("labels contradicted", share, config.label_noise, sure,
              f"it is sure of another label for {share:.0%} of held-out frames: look for wrong labels")
    )  # fmt: skip
    return checks + _not_collapsed("held-out frames", figures.held_out, config.collapse, "held-out")


def _gain(figures: Figures, gain: float) -> Check:
    """More held-out frames right than before: with no class that is new, by more than chance, or all of a few."""
    counts = [c for c in figures.held_out if c.of]
    new = {c.label for c in figures.learnt}
    of, before, after = (sum(getattr(c, name) for c in counts) for name in ("of", "before", "after"))
    won, lost = (sum(getattr(c, name) for c in counts if c.label not in new) for name in ("won", "lost"))
    passed = after - before > gain * of
    if new:
        passed = passed and not exceeds(lost, won + lost, 0.5)
    elif gain >= 0:
        few = can_only_win_few(of, before) and won == of - before and not lost
        passed = passed and (few or exceeds(won, won + lost, 0.5))
    says = f"it is right on {after} of {of} held-out frames and the previous solver on {before}"
    if len(new) < len(counts):
        says += f": of known classes it won {won} and lost {lost}"
    if not new:
        says += f"; less than {PROVABLE} won and none lost could be chance"
    return Check("better than before", after / of, before / of + gain, passed, says)


def _recognised(figures: Figures, floor: float) -> list[Check]:
    """Whether each new class is recognised more often than by chance; a class that was not learnt is not served."""
    chance = 1 / max(len(figures.generated) + len(figures.learnt), 1)
    held_out = {c.label: c for c in figures.held_out}
    checks = []
    for own in figures.learnt:
        seen = held_out.get(own.label, Counts(own.label, 0, 0, 0))
        few = seen.after >= floor * seen.of and own.after >= floor * own.of  # which chance alone may explain
        passed = few or exceeds(seen.after, seen.of, chance)
        recognised = f"{seen.after} of {seen.of} held-out frames and {own.after} of {own.of} that it learnt"
        if figures.each_left_out:
            recognised = f"{seen.after} of {seen.of} frames, each judged by the others"
        frames = own.of if figures.each_left_out else own.of + seen.of
        says = f"{own.label} was not learnt: it recognises {recognised}; show more of it, {2 * frames} or so"
        share = seen.after / seen.of if seen.of else "nothing held out"
        checks.append(Check(f"{own.label} is recognised", share, chance, passed or floor == 0, says, own.label))
    return checks


def _kept(figures: Figures, config: PromotionConfig) -> list[Check]:
    """Whether what was known before is still known."""
    return [
        _not_down("agreement", figures.generated, config.agreement_drop, "generated inputs"),
        *_not_collapsed("generated inputs", figures.generated, config.collapse, "generated"),
        *(
            [_not_down("canary accuracy", figures.canary, config.canary_drop, "canary images")]
            if figures.canary
            else []
        ),
        *_not_collapsed("canary images", figures.canary, config.collapse, "canary"),
    ]


def _as_rehearsed(figures: Figures, config: PromotionConfig, rehearsal: Rehearsal | None) -> list[Check]:
    """What a rehearsal bounds; and whether anything tells of each known class, as a measure that cannot says no yes."""
    missing = untold(figures)
    says = (
        f"nothing tells whether {', '.join(missing)} is kept, as the generator does not make it: show frames of it "
        "too, or install a bundle with canary images"
    )
    checks = [Check("known classes that nothing tells of", len(missing), 0, not missing or config.collapse == 0, says)]
    bounds = {} if rehearsal is None else rehearsal.bounds
    for name, measured in kept(figures).items():
        if name in bounds and bounds[name].told:
            least = bounds[name].least
            says = (
                f"of what was right of {measured.label or 'known classes'}, {measured.share:.0%} still is ({name}): in "
                f"rehearsals all updates without harm had more than {least:.0%}"
            )
            checks.append(Check(f"{name}, rehearsed", measured.share, least, passes(measured, least), says))
    return checks


def _unknown(figures: Figures, rehearsal: Rehearsal | None) -> str:
    if rehearsal is None:
        return "no rehearsal tells what the measures of known classes are worth"
    bounds = [rehearsal.bounds[name] for name in kept(figures) if name in rehearsal.bounds]
    if any(bound.tells for bound in bounds) or not any(bound.harmful for bound in bounds):
        return ""
    best = max(bounds, key=lambda bound: bound.told)
    return f"the measures of known classes told {best.told} of {best.harmful} harmful updates in rehearsals"


def _not_down(name: str, counts: tuple[Counts, ...], drop: float, what: str) -> Check:
    of, before, after = (sum(getattr(c, part) for c in counts) for part in ("of", "before", "after"))
    if not of:
        return Check(name, "nothing to tell by", "", True, "")
    bound = before / of - drop
    says = f"of {what} {after / of:.1%} are right, {before / of:.1%} before"
    return Check(name, after / of, bound, not falls_short(after, of, bound), says)


def _not_collapsed(name: str, counts: tuple[Counts, ...], collapse: float, what: str) -> list[Check]:
    """One check: the class that lost most, of those that were right at all before."""
    known = [c for c in counts if c.before]
    if not known:
        return []
    lost = [c for c in known if falls_short(c.after, c.before, collapse)]
    worst = min(lost or known, key=lambda c: c.after / c.before)
    says = ", ".join(
        f"{c.label} collapsed: right on {c.after} of {c.of} {what} inputs, {c.before} before" for c in lost
    )
    return [Check(f"no class lost on {name}", worst.after / worst.before, collapse, not lost, says)]


def _latency(before: float, after: float, config: PromotionConfig) -> Check:
    bound = config.latency_ratio * before
    if config.latency_ms is not None:
        bound = min(bound, config.latency_ms)
    says = f"a prediction takes {after:.2f} ms, more than {bound:.2f} ms"
    return Check("milliseconds of a prediction", after, bound, after <= bound, says)
