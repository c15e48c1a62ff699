"""What a user may change about an update. Every stage has its own part; units stand beside the values."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

LOSSES = ("consensus", "competition", "masked-kl", "new-only", "interference")
"""Names of the synthesis losses, in the order in which the exported graph weighs them."""


@dataclass(frozen=True)
class ReplayConfig:
    """Stage 1: generated inputs and the pretrained solver's labels for them."""

    soft_labels: bool = True
    """Train on the pretrained solver's probabilities; otherwise on its largest one alone."""
    temperature: float = 2.0
    """Softening of soft labels; 1 takes the probabilities as they are."""
    balance: bool = True
    """As many generated inputs of each known class, rather than what the noise happens to give."""
    min_confidence: float = 0.0
    """Reject generated inputs whose largest probability is below this; 0 keeps all, which measured best."""
    per_live: float | None = None
    """Generated inputs for each live one; None takes known classes, each as often as it was learnt : live classes."""
    noise_spread: float = 1.8
    """Noise is standard normal times a factor drawn between 1 and this: the widest reach the borders between classes,
    which the new classes would otherwise take over."""
    pool: int = 4096
    """Generated inputs held at a time; bounds the memory."""
    reuse: int = 4
    """How often an input of the pool is used before the pool is drawn anew."""


@dataclass(frozen=True)
class FitConfig:
    """Stages 2 and 5: training the solver until the loss converges."""

    batch: int = 256
    learning_rate: float = 1e-3
    """AdamW's, constant until convergence."""
    steps: int = 600
    """Most optimizer steps, cooling included."""
    window: int = 100
    """Steps over which losses are averaged before they are compared."""
    tolerance: float = 0.005
    """Converged when the average falls by less than this share from one window to the next."""
    cooling: float = 0.3
    """Share of the steps in which the learning rate falls to zero, after convergence."""
    shift: float = 0.04
    """Share of its sides by which an image is moved at most, at random in each step; 0 leaves it where it is."""


@dataclass(frozen=True)
class SynthesisConfig:
    """Stages 3 and 4: inputs found by gradients with both solvers fixed. Losses: `export/graphs/graphs.py`."""

    count: int = 1024
    """Inputs to synthesise; 0 leaves stages 3 to 5 out."""
    batch: int = 128
    search: str = "noise"
    """What is searched: the "image" itself, or the generator's "noise"."""
    loss: str = "interference"
    alpha: float = 1.0
    """Weight of the disagreement term of "competition" and "masked-kl"."""
    references: str = "known"
    """Pool of reference labels: "live" classes, "known" classes, or "all"."""
    start: str = "random"
    """Image search begins at "random" inputs or at "generated" ones."""
    label: str = "pretrained"
    """Target in retraining: the "pretrained" solver's output as in replay, or the "reference" label."""
    steps: int = 15
    """Most gradient steps for each input."""
    learning_rate: float = 0.1
    """Adam's, in units of the noise or of the input."""
    tolerance: float = 1e-3
    """An input has converged when its loss falls by less than this share of its magnitude three times running."""
    noise_prior: float = 0.005
    """Weight of ‖noise‖², which keeps the noise likely under the generator's own distribution."""
    total_variation: float = 0.0
    """Weight of the mean absolute difference between neighbouring pixels (image search)."""
    pull: float = 0.0
    """Weight of the mean squared distance from where the search began (image search)."""
    after_solving: bool = False
    """Whether stages 3 to 5 follow where stage 2 solved the solver from class statistics, or replayed Gaussians of the
    classes: they gain nothing there."""


@dataclass(frozen=True)
class RetrainConfig:
    """Stage 5: what the synthesised inputs are mixed with, relative to the weights of stage 2."""

    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=300, learning_rate=5e-4, cooling=1.0))
    replay: float = 1.0
    live: float = 2.0
    synthesised: float = 0.17
    """Weight of all synthesised inputs, relative to that of all generated ones."""


@dataclass(frozen=True)
class GenerativeConfig:
    """Stage 6: the discriminator and the generator learn the live inputs."""

    steps: int = 800
    """Rounds of one discriminator and one generator step; 0 leaves the stage out."""
    batch: int = 64
    """Inputs of each kind in a step."""
    discriminator_learning_rate: float = 1e-3
    generator_learning_rate: float = 2e-3
    replay_as_live: bool = True
    """Show the discriminator the previous generator's samples of known classes as live ones."""
    noise_spread: float = 1.8
    """As in `ReplayConfig`, for the known classes: what replay will draw is what must not change."""
    anchor: float = 10.0
    """Weight that holds known classes to the previous generator's outputs."""
    reconstruction: float = 20.0
    """Weight that makes the generator reproduce live inputs from their principal coordinates."""
    components: int = 32
    """Principal coordinates kept in the noise of a reproduced input, at most half of it; fresh noise in the rest keeps
    it from learning inputs by heart."""
    class_consistency: float = 0.1
    """Weight of the updated solver's cross-entropy for the class of each code."""
    average: float = 0.99
    """Decay of the running average of the generator's weights; 0 keeps the last step's."""


@dataclass(frozen=True)
class PromotionConfig:
    """What the updated solver must show before it serves. Shares are held to as far as numbers of inputs allow."""

    floor: float = 0.5
    """Least accuracy on held-out frames, the mean over labels; each label alone must reach half of it."""
    gain: float = 0.0
    """More than this share of held-out frames must be newly right; of known classes alone, more than by chance too."""
    label_noise: float = 0.2
    """Largest share of held-out frames for which the updated solver is sure of another label of the same update."""
    agreement_drop: float = 0.1
    """By how much agreement with the previous solver may fall, and that of generated inputs with their classes."""
    canary_drop: float = 0.1
    """By how much accuracy on the provider's canary images may fall."""
    collapse: float = 0.5
    """A known class has collapsed if less than this share of what was right of it still is."""
    latency_ratio: float = 3.0
    """A prediction may take this many times as long as one of the previous solver; generous, since boxes are busy."""
    latency_ms: float | None = None
    """Most milliseconds of a prediction behind the preprocessing and the backbone."""
    probation: int = 0
    """Predictions that a new generation must make before older ones may go; 0: it is confirmed at once."""


@dataclass(frozen=True)
class IntakeConfig:
    """Which frames are learnt, and which are set aside."""

    check: bool = True
    """Set frames aside; otherwise all that can be read are taken."""
    max_per_class: int = 5000
    """Most frames of a class; further ones are left where they are."""
    min_sharpness: float = 0.0008
    """Variance of the Laplacian relative to that of the pixels, at 256 pixels; 0 takes blurred frames."""
    near_duplicate: float = 1.0
    """Distance between thumbnails, in grey levels, below which two frames are the same; 0 leaves equal ones alone."""
    sure: float = 0.95
    """Probability above which the solver contradicts the label of a class that it knows; 1 believes all labels."""


@dataclass(frozen=True)
class UpdateConfig:
    """One update. The defaults measured best; `literal` is the published form, step by step."""

    seed: int = 0
    holdout: float = 0.2
    """Share of each class's frames that is kept from training and used to judge the result."""
    min_images: int = 5
    """Fewest frames of a class; below it one wrong label weighs too much."""
    max_minutes: float | None = None
    """Time limit for the whole update; each stage gets its usual share of it."""
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    fine_tune: FitConfig = field(default_factory=FitConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    generative: GenerativeConfig = field(default_factory=GenerativeConfig)
    promotion: PromotionConfig = field(default_factory=PromotionConfig)
    closed_form: bool = True
    """Solve a solver that is one linear layer behind a backbone from the statistics of its classes, and begin new
    classes of few frames near such a solution (`few_frames.py`), which measured best; otherwise all are trained alike,
    in all stages.
    """

    def on_features(self) -> UpdateConfig:
        """As it is used where statistics or Gaussians draw what is replayed: none of it is softened or spread further,
        as these know where classes end, and what is searched in stage 4 is the features, begun at drawn ones.
        """
        synthesis = self.synthesis
        if synthesis.search == "noise":
            synthesis = replace(synthesis, search="image", start="generated")
        return replace(self, replay=replace(self.replay, temperature=1.0, noise_spread=1.0), synthesis=synthesis)

    def literal(self) -> UpdateConfig:
        """The published form: count weights, hard pseudo-labels, reference labels from the live labels, random
        initial inputs, retraining on the synthesised inputs alone, a generative update without the old samples.
        """
        return replace(
            self,
            closed_form=False,
            replay=replace(
                self.replay, soft_labels=False, temperature=1.0, balance=False, noise_spread=1.0, per_live=1.0
            ),
            fine_tune=replace(self.fine_tune, shift=0.0),
            synthesis=replace(
                self.synthesis,
                search="image",
                loss="consensus",
                references="live",
                start="random",
                label="reference",
                steps=100,
                learning_rate=0.05,
            ),
            retrain=replace(
                self.retrain, fit=replace(self.retrain.fit, shift=0.0), replay=0.0, live=0.0, synthesised=1.0
            ),
            generative=replace(
                self.generative,
                replay_as_live=False,
                noise_spread=1.0,
                anchor=0.0,
                reconstruction=0.0,
                class_consistency=0.0,
                average=0.0,
            ),
        )

    def to_json(self) -> str:
        """As text, for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> UpdateConfig:
        """What `to_json` wrote. Raises ValueError or TypeError for anything else, such as fields of another version."""
        config: UpdateConfig = _from_fields(cls, json.loads(text))
        return config


def _from_fields(kind: Any, values: dict[str, Any]) -> Any:
    parts = {name: hint for name, hint in get_type_hints(kind).items() if dataclasses.is_dataclass(hint)}
    return kind(**{name: _from_fields(parts[name], v) if name in parts else v for name, v in values.items()})
