"""The torch modules whose exported graphs run on the device: networks with their losses inside.

Shapes: N inputs of shape S, Z noise values, C class slots. Masks over class slots hold 1 for members and 0 for the
others. The device holds loops, not losses: whatever is summed, weighted or masked happens here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reverie.export.graphs.entering import entering

SYNTHESIS_LOSSES = ("consensus", "competition", "masked-kl", "new-only", "interference")
SOFTENING = 3.0
"""Temperature at which the synthesis losses compare the two solvers."""


def masked(logits: Tensor, members: Tensor) -> Tensor:
    """`logits` (N, C) with every class slot outside `members` (C,) at practically minus infinity."""
    return logits + (members - 1) * 1e4


def class_mask(classes: int, slots: int) -> Tensor:
    """1 for the first `classes` of `slots`, 0 for the rest, float32."""
    return (torch.arange(slots) < classes).float()


class ServingSolver(nn.Module):
    """input (N, *S) → logits and probabilities (N, C); slots that are not active have probability 0.

    With the path of its last layer as `head`, also what enters that (N, H).
    """

    active: Tensor

    def __init__(self, solver: nn.Module, slots: int, known: int, head: str | None = None) -> None:
        super().__init__()
        self.solver = solver
        self.head = head
        self.register_buffer("active", class_mask(known, slots))

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:  # noqa: A002 (the graph's input is named so)
        if self.head is None:
            logits = masked(self.solver(input), self.active)
            return logits, torch.softmax(logits, dim=1)
        with entering(self.solver.get_submodule(self.head)) as seen:
            logits = masked(self.solver(input), self.active)
        return logits, torch.softmax(logits, dim=1), seen[0].clone()  # with a name of its own in the graph


class ServingGenerator(nn.Module):
    """noise (N, Z), code (N, C) → generated inputs (N, *S)."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        generated: Tensor = self.generator(noise, code)
        return generated


class ServingDiscriminator(nn.Module):
    """input (N, *S), code (N, C) → verdict logits (N,), positive for "live"."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, input: Tensor, code: Tensor) -> Tensor:  # noqa: A002
        verdict: Tensor = self.discriminator(input, code)
        return verdict


class ServingBackbone(nn.Module):
    """image (N, *image shape) → features (N, *S), the inputs of all other graphs."""

    def __init__(self, front: nn.Module) -> None:
        super().__init__()
        self.front = front

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.front(image)
        return features


class SolverTraining(nn.Module):
    """Stages 2 and 5: weighted cross-entropy with soft targets.

    loss = Σ_i weight_i · T_i² · CE(target_i, softmax(logits_i / T_i)), over the active slots. With weights of 1/N it
    is the pooled mean, which is loss 1 and loss 2 added with the count weights; T² keeps gradients of softened
    targets in scale (Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", 2015).
    """

    def __init__(self, solver: nn.Module) -> None:
        super().__init__()
        self.solver = solver

    def forward(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor,
        weight: Tensor,
        temperature: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, ...]:
        logits = masked(self.solver(input), active)
        softened = torch.log_softmax(logits / temperature.unsqueeze(1), dim=1)
        cross_entropy = -(target * softened).sum(dim=1)
        return (weight * temperature * temperature * cross_entropy).sum(), logits


def binary_cross_entropy(verdict: Tensor, kind: Tensor) -> Tensor:
    """softplus(v) - kind·v for verdict logits v, kind 1 for live and 0 for generated; both (N,).

    softplus(v) = log(e⁰ + eᵛ) = -log softmax(0, v)₀, whose gradient is right for every v, 0 included.
    """
    both = torch.stack([torch.zeros_like(verdict), verdict], dim=1)
    return -torch.log_softmax(both, dim=1)[:, 0] - kind * verdict


class DiscriminatorTraining(nn.Module):
    """Stage 6, first half: loss = Σ_i weight_i · BCE(D(input_i, code_i), kind_i)."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, input: Tensor, code: Tensor, kind: Tensor, weight: Tensor) -> Tensor:  # noqa: A002
        return (weight * binary_cross_entropy(self.discriminator(input, code), kind)).sum()


class GeneratorTraining(nn.Module):
    """Stage 6, second half, with the discriminator and the solver fixed.

    With G_i = G(noise_i, code_i), the loss is the sum over i of

        weight_i · BCE(D(G_i, code_i), kind_i)
        anchor_weight_i · mean((G_i - anchor_i)²)
        class_weight_i · CE(solver(G_i), code_i)

    The second holds the generator to what it shall reproduce: its predecessor's outputs, or live inputs. The third
    asks for inputs that the solver takes for the class of their code (Odena, Olah & Shlens, "Conditional image
    synthesis with auxiliary classifier GANs", 2017). Returns the loss and G.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, solver: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.solver = solver

    def forward(
        self,
        noise: Tensor,
        code: Tensor,
        kind: Tensor,
        weight: Tensor,
        anchor: Tensor,
        anchor_weight: Tensor,
        class_weight: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, Tensor]:
        generated = self.generator(noise, code)
        adversarial = weight * binary_cross_entropy(self.discriminator(generated, code), kind)
        drift = (generated - anchor).flatten(1)
        anchored = anchor_weight * (drift * drift).mean(dim=1)
        log_probabilities = torch.log_softmax(masked(self.solver(generated), active), dim=1)
        classified = class_weight * -(code * log_probabilities).sum(dim=1)
        return (adversarial + anchored + classified).sum(), generated


class SynthesisLoss(nn.Module):
    """The losses of stages 4, by name, on inputs x with both solvers fixed.

    f_o is the pretrained solver, softmax over the `known` slots; f_n the trained one, over the `active` slots.
    y is the reference label (one-hot `reference`), p_o and p_n are outputs softened at T = 3 over the known slots,
    JS their Jensen-Shannon divergence. A term on f_o counts only if y is known to f_o.

        consensus      CE(f_o, y) + CE(f_n, y)
        competition    [y known] CE(f_o, y) + [y new] CE(f_n, y) + α [y known] (1 - JS(p_o, p_n) / ln 2)
        masked-kl      CE(f_o, y) - α [argmaxes agree] KL(p_o ‖ p_n)
        new-only       CE(f_n, y)
        interference   CE(f_o, y) - min(CE(f_n, y), 4)

    `choose` (5,) weighs them in this order. JS after Yin et al., "Dreaming to distill" (DeepInversion), CVPR 2020;
    interference after Aljundi et al., "Online continual learning with maximally interfered retrieval", 2019.
    """

    def __init__(self, pretrained: nn.Module, trained: nn.Module) -> None:
        super().__init__()
        self.pretrained = pretrained
        self.trained = trained

    def forward(
        self, x: Tensor, reference: Tensor, known: Tensor, active: Tensor, choose: Tensor, alpha: Tensor
    ) -> Tensor:
        """Loss of each input, (N,)."""
        old = masked(self.pretrained(x), known)
        new_logits = self.trained(x)
        new = masked(new_logits, active)
        is_known = (reference * known).sum(dim=1)
        ce_old = -(reference * known * torch.log_softmax(old, dim=1)).sum(dim=1)
        ce_new = -(reference * torch.log_softmax(new, dim=1)).sum(dim=1)

        log_p_old = torch.log_softmax(old / SOFTENING, dim=1)
        log_p_new = torch.log_softmax(masked(new_logits, known) / SOFTENING, dim=1)
        p_old, p_new = torch.exp(log_p_old), torch.exp(log_p_new)
        log_mean = torch.log((p_old + p_new) / 2 + 1e-12)
        js = (p_old * (log_p_old - log_mean) + p_new * (log_p_new - log_mean)).sum(dim=1) / 2
        kl = (p_old * (log_p_old - log_p_new)).sum(dim=1)
        agree = (torch.argmax(old, dim=1) == torch.argmax(new, dim=1)).float()

        losses = (
            ce_old + ce_new,
            ce_old + (1 - is_known) * ce_new + alpha * is_known * (1 - js / math.log(2)),
            ce_old - alpha * agree * kl,
            ce_new,
            ce_old - (4 - F.relu(4 - ce_new)),
        )
        return (torch.stack(losses, dim=1) * choose).sum(dim=1)


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours along the last two axes of (N, C, H, W), (N,); 0 for other inputs."""
    variation = torch.zeros_like(x.flatten(1)[:, 0])
    if x.dim() == 4 and x.shape[2] > 1:
        variation = variation + torch.abs(x[:, :, 1:] - x[:, :, :-1]).flatten(1).mean(dim=1)
    if x.dim() == 4 and x.shape[3] > 1:
        variation = variation + torch.abs(x[:, :, :, 1:] - x[:, :, :, :-1]).flatten(1).mean(dim=1)
    return variation


class ImageSynthesis(nn.Module):
    """Search over the input itself: loss + tv · TV(x) + pull · mean((x - start)²).

    Returns the sum over the batch and the loss of each input (N,).
    """

    def __init__(self, loss: SynthesisLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self,
        input: Tensor,  # noqa: A002
        start: Tensor,
        reference: Tensor,
        known: Tensor,
        active: Tensor,
        choose: Tensor,
        alpha: Tensor,
        tv: Tensor,
        pull: Tensor,
    ) -> tuple[Tensor, Tensor]:
        each = self.loss(input, reference, known, active, choose, alpha)
        away = (input - start).flatten(1)
        prior = pull * (away * away).mean(dim=1)
        prior = prior + tv * total_variation(input)
        each = each + prior
        return each.sum(), each


class NoiseSynthesis(nn.Module):
    """Search over the generator's noise: loss at x = G(noise, code) + prior · ‖noise‖².

    Returns the sum over the batch, the loss of each input (N,), and x.
    """

    def __init__(self, loss: SynthesisLoss, generator: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.generator = generator

    def forward(
        self,
        noise: Tensor,
        code: Tensor,
        reference: Tensor,
        known: Tensor,
        active: Tensor,
        choose: Tensor,
        alpha: Tensor,
        prior: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        generated = self.generator(noise, code)
        each = self.loss(generated, reference, known, active, choose, alpha)
        each = each + prior * (noise * noise).sum(dim=1)
        return each.sum(), each, generated
