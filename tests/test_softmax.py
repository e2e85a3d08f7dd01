"""The blocked softmax loss against its formula, row by row."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import recall_lightning.softmax as softmax
from recall_lightning.models.transitions import Bonus
from recall_lightning.softmax import softmax_loss

BATCH, POSITIONS, RELEVANT, CANDIDATES, WIDTH = 3, 4, 2, 5, 3
VALUES = st.sampled_from([-30.0, -1.5, 0.0, 0.25, 2.0])


def slow_loss(left, right, targets, known, smoothing=0.0):
    total = 0.0
    for b in range(BATCH):
        for p in range(POSITIONS):
            asked = [t for t in targets[b, p].tolist() if t >= 0]
            z = [float(left[b, p] @ right[c]) for c in range(CANDIDATES)]
            rest = [z[c] for c in range(CANDIDATES) if c not in asked and (known is None or not known[b, c])]
            for target in asked:
                top = max([*rest, z[target]])
                total += top + math.log(sum(math.exp(x - top) for x in [*rest, z[target]])) - z[target]
                able = [z[c] for c in range(CANDIDATES) if c in asked or known is None or not known[b, c]]
                total += smoothing * (z[target] - sum(able) / len(able))
    return total


@given(
    arrays(np.float64, (BATCH, POSITIONS, WIDTH), elements=VALUES),
    arrays(np.float64, (CANDIDATES, WIDTH), elements=VALUES),
    arrays(np.int64, (BATCH, POSITIONS, RELEVANT), elements=st.integers(-1, CANDIDATES - 1)),
    st.none() | arrays(np.bool_, (BATCH, CANDIDATES)),
    st.sampled_from([1, CANDIDATES, 3 * CANDIDATES, 10**6]),
    st.sampled_from([1, 2, 256]),
    st.sampled_from([0.0, 0.2]),
)
def test_the_loss_is_that_of_the_formula_however_many_logits_are_in_memory_at_once(
    left, right, targets, known, at_once, least, smoothing
):
    arguments = [None if a is None else torch.from_numpy(a) for a in (left, right, targets, known)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(softmax.LOGITS_AT_ONCE, "cpu", at_once)
        patch.setitem(softmax.VECTORS_AT_ONCE, "cpu", least)
        loss = softmax_loss(*arguments, smoothing=smoothing).item()
        assert loss == pytest.approx(slow_loss(*arguments, smoothing), rel=1e-9, abs=1e-9)


def some(dtype=torch.float64):
    torch.manual_seed(0)
    left, right = torch.randn(3, 4, 6, dtype=dtype), torch.randn(9, 6, dtype=dtype)
    targets = torch.randint(-1, 9, (3, 4, 2))
    targets[1, 2] = -1
    return left.requires_grad_(), right.requires_grad_(), targets, torch.rand(3, 9) < 0.3


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("at_once", [9, 27, 10**6])
def test_a_bonus_is_added_to_the_logits_and_its_weights_get_gradient(monkeypatch, at_once, smoothing):
    monkeypatch.setitem(softmax.LOGITS_AT_ONCE, "cpu", at_once)
    monkeypatch.setitem(softmax.VECTORS_AT_ONCE, "cpu", 1)
    left, right, targets, known = some()
    lifts = torch.rand(12, 9, dtype=torch.float64)
    weights = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def loss(u, v, w):
        bonus = Bonus(w[..., None], [lambda positions: lifts[positions]])
        return softmax_loss(u, v, targets, known, bonus, smoothing)

    # the same logits as inner products: a coordinate for each position, which has its lifts and no one else's
    one_each = torch.diag_embed(weights.reshape(-1)).view(3, 4, 12)
    wide = torch.cat([left, one_each], -1), torch.cat([right, lifts.T], -1)
    expected = softmax_loss(*wide, targets, known, smoothing=smoothing)
    torch.testing.assert_close(loss(left, right, weights), expected)
    assert torch.autograd.gradcheck(loss, (left, right, weights))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("at_once", [9, 27, 10**6])
def test_the_gradient_is_that_of_finite_differences_in_any_size_of_block(monkeypatch, at_once, smoothing):
    monkeypatch.setitem(softmax.LOGITS_AT_ONCE, "cpu", at_once)
    monkeypatch.setitem(softmax.VECTORS_AT_ONCE, "cpu", 1)
    left, right, targets, known = some()
    assert torch.autograd.gradcheck(lambda u, v: softmax_loss(u, v, targets, known, None, smoothing), (left, right))
    assert torch.autograd.gradcheck(lambda u: softmax_loss(u, right, targets, None, None, smoothing), (left,))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_under_bfloat16_autocast_the_loss_is_the_same_and_the_gradient_close(smoothing):
    left, right, targets, known = some(torch.float32)
    expected = softmax_loss(left, right, targets, known, smoothing=smoothing)
    exact = torch.autograd.grad(expected, (left, right))
    with torch.autocast("cpu", torch.bfloat16):
        loss = softmax_loss(left, right, targets, known, smoothing=smoothing)
    rough = torch.autograd.grad(loss, (left, right))
    assert loss.item() == expected.item()
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == torch.float32
        assert not torch.equal(a, b)  # the products do take bfloat16
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


def test_a_vector_without_a_target_and_a_vector_without_a_negative_get_no_gradient():
    left, right, targets, _ = some()
    everything = torch.ones(3, 9, dtype=torch.bool)
    targets[:, :, 1] = -1
    loss = softmax_loss(left, right, targets, everything)
    loss.backward()
    assert loss.item() == 0
    assert left.grad.abs().sum() == 0
    softmax_loss(left, right, targets).backward()
    assert (left.grad.abs().sum(-1) > 0).equal((targets >= 0).any(-1))
