"""The contrastive loss against a loop over texts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from recall_lightning.contrastive import alignment, contrastive_loss


def cosine(u, v):
    return float(u @ v) / (float(u.norm()) * float(v.norm()))


def slow_loss(one, other, alike, temperature):
    losses = []
    for i in range(len(one)):
        rivals = [j for j in range(len(one)) if j == i or alike[j] != alike[i]]
        chances = [math.exp(cosine(one[i], other[j]) / temperature) for j in rivals]
        losses.append(math.log(sum(chances)) - cosine(one[i], other[i]) / temperature)
    return sum(losses) / len(losses)


def views(n, seed):
    torch.manual_seed(seed)
    return torch.randn(n, 5), torch.randn(n, 5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 99), st.sampled_from([0.05, 0.2, 1.0]))
def test_the_loss_agrees_with_one_counted_text_by_text(alike, seed, temperature):
    one, other = views(len(alike), seed)
    loss = contrastive_loss(one, other, tensor(alike), temperature=temperature)
    assert float(loss) == pytest.approx(slow_loss(one, other, alike, temperature), rel=1e-4, abs=1e-5)


def test_texts_that_are_equal_are_no_negatives_of_each_other():
    one, other = views(3, 0)
    for same in (tensor([0, 0, 0]), tensor([7])):
        n = len(same)
        assert float(contrastive_loss(one[:n], other[:n], same, temperature=0.05)) == 0


def test_its_gradient_is_that_of_the_formula():
    one, other = (part.double().requires_grad_() for part in views(6, 1))
    alike = tensor([0, 1, 1, 3, 4, 0])

    def by_hand(u, v):
        cosines = torch.cosine_similarity(u[:, None], v[None], dim=-1) / 0.2
        rivals = (alike[:, None] != alike) | torch.eye(6, dtype=torch.bool)
        return -cosines.masked_fill(~rivals, -torch.inf).log_softmax(1).diagonal().mean()

    for fast, slow in zip(
        torch.autograd.grad(contrastive_loss(one, other, alike, temperature=0.2), (one, other)),
        torch.autograd.grad(by_hand(one, other), (one, other)),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow)


@given(st.integers(1, 6), st.integers(0, 99))
def test_alignment_is_the_mean_squared_distance_of_unit_vectors(n, seed):
    one, other = views(n, seed)
    slow = sum(float((u / u.norm() - v / v.norm()).square().sum()) for u, v in zip(one, other, strict=True)) / n
    assert float(alignment(one, other)) == pytest.approx(slow, rel=1e-4, abs=1e-6)
    assert float(alignment(one, one)) == pytest.approx(0, abs=1e-6)
