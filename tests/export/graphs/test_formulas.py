"""The formulas that the graphs carry, beside torch's own functions and beside code written from their descriptions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from reverie.device_runtime.config import LOSSES
from reverie.export.graphs import graphs

SLOTS = 6
SEEDS = st.integers(0, 2**31 - 1)


class Half(nn.Module):
    """Stands for a solver: one half of the input, as it is, is the logits."""

    def __init__(self, first):
        super().__init__()
        self.part = slice(0, SLOTS) if first else slice(SLOTS, 2 * SLOTS)

    def forward(self, x):
        return x[:, self.part]


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def synthesis_loss(x, reference, known, active, choose, alpha=1.0):
    """graphs.SynthesisLoss for two solvers whose logits lie side by side in `x`."""
    loss = graphs.SynthesisLoss(Half(first=True), Half(first=False))
    return loss(x, reference, known, active, choose, torch.tensor(alpha, dtype=x.dtype))


def described_losses(x, labels, known, active, alpha):
    """The five losses by name for each input, from the description: one input at a time, slots left out by index."""
    losses = {name: [] for name in graphs.SYNTHESIS_LOSSES}
    for row, label in zip(x, labels, strict=True):
        old, new = row[:SLOTS][:known], row[SLOTS:][:active]
        is_known = label < known
        old_term = -math.log(torch.softmax(old, 0)[label]) if is_known else 0.0
        new_term = -math.log(torch.softmax(new, 0)[label])
        p_old, p_new = torch.softmax(old / 3, 0), torch.softmax(row[SLOTS:][:known] / 3, 0)
        mean = (p_old + p_new) / 2
        divergences = [float((p * torch.log(p / q)).sum()) for p, q in ((p_old, mean), (p_new, mean), (p_old, p_new))]
        js, kl = (divergences[0] + divergences[1]) / 2, divergences[2]
        agree = int(old.argmax()) == int(new.argmax())
        losses["consensus"].append(old_term + new_term)
        disagreement = alpha * (1 - js / math.log(2)) if is_known else 0.0
        losses["competition"].append(old_term + (0.0 if is_known else new_term) + disagreement)
        losses["masked-kl"].append(old_term - (alpha * kl if agree else 0.0))
        losses["new-only"].append(new_term)
        losses["interference"].append(old_term - min(new_term, 4.0))
    return losses


@given(
    seed=SEEDS, count=st.integers(1, 8), known=st.integers(1, SLOTS), new=st.integers(0, 3), spread=st.floats(0.1, 8)
)
@pytest.mark.parametrize("name", graphs.SYNTHESIS_LOSSES)
def test_each_synthesis_loss_is_what_its_description_says(name, seed, count, known, new, spread):
    active = min(SLOTS, known + new)
    x = spread * normal(seed, count, 2 * SLOTS)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(active, size=count))
    choose = torch.tensor([float(name == other) for other in graphs.SYNTHESIS_LOSSES])
    masks = [graphs.class_mask(members, SLOTS).double() for members in (known, active)]
    ours = synthesis_loss(x, F.one_hot(labels, SLOTS).double(), *masks, choose.double(), 0.7)
    theirs = described_losses(x, labels.tolist(), known, active, 0.7)[name]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-6)


@given(seed=SEEDS, spread=st.floats(0, 200), known=st.integers(2, SLOTS))
def test_the_divergence_between_the_solvers_lies_between_zero_and_ln_2(seed, spread, known):
    """Then the term of `competition` lies between 0 (they contradict each other) and alpha (they agree)."""
    x = (spread * normal(seed, 8, 2 * SLOTS)).float()
    labels = torch.arange(8) % known
    reference, mask = F.one_hot(labels, SLOTS).float(), graphs.class_mask(known, SLOTS)
    choose = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    without, full = (synthesis_loss(x, reference, mask, mask, choose, alpha) for alpha in (0.0, 1.0))
    term = (full - without).numpy()
    rounding = 1e-5 * (1 + np.abs(without.numpy()))
    assert (term >= -rounding).all()
    assert (term <= 1 + rounding).all()


def test_solvers_that_agree_and_solvers_that_contradict_each_other_are_the_two_ends_of_the_divergence():
    sure = 60 * torch.eye(SLOTS)[:2].double()
    agreeing, contradicting = torch.cat([sure, sure], dim=1), torch.cat([sure, sure.flip(0)], dim=1)
    everything, choose = torch.ones(SLOTS).double(), torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]).double()
    reference = torch.eye(SLOTS)[:2].double()
    ends = [synthesis_loss(x, reference, everything, everything, choose) for x in (agreeing, contradicting)]
    np.testing.assert_allclose(torch.stack(ends).numpy(), [[1, 1], [0, 0]], atol=1e-6)


def test_the_graph_weighs_the_losses_in_the_order_in_which_the_device_names_them():
    assert graphs.SYNTHESIS_LOSSES == LOSSES


@given(
    seed=SEEDS,
    count=st.integers(1, 8),
    active=st.integers(2, SLOTS),
    temperature=st.floats(0.5, 8),
)
def test_the_solvers_loss_is_torchs_cross_entropy_with_soft_targets(seed, count, active, temperature):
    logits = 4 * normal(seed, count, SLOTS)
    target = F.pad(torch.softmax(normal(seed + 1, count, active), dim=1), (0, SLOTS - active))
    weight, mask = torch.rand(count).double(), graphs.class_mask(active, SLOTS).double()
    temperatures = torch.full((count,), temperature, dtype=torch.float64)
    loss, served = graphs.SolverTraining(nn.Identity())(logits, target, weight, temperatures, mask)
    each = F.cross_entropy(logits[:, :active] / temperature, target[:, :active], reduction="none")
    assert loss.item() == pytest.approx(float((weight * temperature**2 * each).sum()), rel=1e-9)
    np.testing.assert_array_equal(served[:, :active].numpy(), logits[:, :active].numpy())
    assert served[:, active:].numel() == 0 or float(served[:, active:].max()) < -9000


@given(seed=SEEDS, count=st.integers(1, 8))
def test_with_equal_weights_hard_targets_and_no_softening_it_is_the_mean_cross_entropy(seed, count):
    logits, labels = normal(seed, count, SLOTS), torch.arange(count) % SLOTS
    one, equal = (torch.full((count,), value, dtype=torch.float64) for value in (1.0, 1 / count))
    target = F.one_hot(labels, SLOTS).double()
    loss, _ = graphs.SolverTraining(nn.Identity())(logits, target, equal, one, torch.ones(SLOTS).double())
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-9)


@given(verdicts=st.lists(st.floats(-80, 80), min_size=1, max_size=8), seed=SEEDS)
def test_the_discriminators_loss_is_torchs_binary_cross_entropy(verdicts, seed):
    verdict = torch.tensor(verdicts, dtype=torch.float64)
    kind = torch.from_numpy(np.random.default_rng(seed).integers(2, size=len(verdicts))).double()
    theirs = F.binary_cross_entropy_with_logits(verdict, kind, reduction="none")
    np.testing.assert_allclose(graphs.binary_cross_entropy(verdict, kind).numpy(), theirs, rtol=1e-9, atol=1e-12)


def assert_gradient_of_binary_cross_entropy(verdict, kind):
    value = torch.tensor([verdict], dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(graphs.binary_cross_entropy(value, torch.tensor([kind])).sum(), value)
    assert gradient.item() == pytest.approx(torch.sigmoid(torch.tensor(verdict)).item() - kind, abs=1e-5)


@given(verdict=st.floats(-1e4, 1e4).filter(lambda v: abs(v) > 1e-30), kind=st.sampled_from([0.0, 1.0]))
def test_the_gradient_of_the_discriminators_loss_is_right_for_any_verdict(verdict, kind):
    assert_gradient_of_binary_cross_entropy(verdict, kind)


@pytest.mark.parametrize("kind", [0.0, 1.0])
def test_the_gradient_of_the_discriminators_loss_is_right_for_a_verdict_of_zero(kind):
    """What a discriminator whose last layer starts at zero says of everything."""
    assert_gradient_of_binary_cross_entropy(0.0, kind)


@given(seed=SEEDS, count=st.integers(1, 5))
def test_the_generators_loss_is_the_sum_of_its_three_described_terms(seed, count):
    """Network outputs are linear here, so that the test can write each term out."""
    generator, discriminator, solver = (nn.Module() for _ in range(3))
    generator.forward = lambda noise, code: noise + code
    discriminator.forward = lambda x, code: (x * code).sum(dim=1)
    solver.forward = lambda x: 2 * x
    noise, anchor = normal(seed, count, SLOTS), normal(seed + 1, count, SLOTS)
    weights = torch.rand(3, count).double()
    labels = torch.arange(count) % 4
    code, kind = F.one_hot(labels, SLOTS).double(), torch.ones(count).double()
    module = graphs.GeneratorTraining(generator, discriminator, solver)
    mask = graphs.class_mask(4, SLOTS).double()
    loss, generated = module(noise, code, kind, weights[0], anchor, weights[1], weights[2], mask)
    made = noise + code
    adversarial = F.binary_cross_entropy_with_logits(made.gather(1, labels[:, None])[:, 0], kind, reduction="none")
    anchored = F.mse_loss(made, anchor, reduction="none").mean(dim=1)
    classified = F.cross_entropy(2 * made[:, :4], labels, reduction="none")
    expected = (weights * torch.stack([adversarial, anchored, classified])).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    np.testing.assert_array_equal(generated.numpy(), made.numpy())


@given(seed=SEEDS, tv=st.floats(0, 2), pull=st.floats(0, 2))
def test_image_search_adds_total_variation_and_the_pull_to_where_it_began(seed, tv, pull):
    images, start = normal(seed, 3, 2, 5, 4), normal(seed + 1, 3, 2, 5, 4)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(40, SLOTS).double())
    loss = graphs.SynthesisLoss(flat, flat)
    rest = (torch.eye(SLOTS)[:3].double(), *[torch.ones(SLOTS).double()] * 2, torch.eye(5)[0].double(), torch.tensor(1))
    bare = loss(images, *rest).detach()
    total, each = graphs.ImageSynthesis(loss)(images, start, *rest, torch.tensor(tv), torch.tensor(pull))
    pixels = images.numpy()
    variation = sum(np.abs(np.diff(pixels, axis=axis)).mean(axis=(1, 2, 3)) for axis in (2, 3))
    distance = ((pixels - start.numpy()) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(each.detach().numpy(), bare.numpy() + tv * variation + pull * distance, rtol=1e-6)
    assert total.item() == pytest.approx(each.sum().item(), rel=1e-9)
