"""Fusion of channels, against the formulas item by item."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.fusion import WAYS, fuse_ranks, fuse_scores

USERS, ITEMS = 2, 5
SCORES = st.sampled_from([-3.0, -0.5, 0.0, 1.0, 7.0])


@st.composite
def channels(draw):
    """Two channels' scores, and weights; the same items are no candidates in both."""
    left_out = torch.from_numpy(draw(arrays(np.bool_, (USERS, ITEMS))))
    parts = [torch.from_numpy(draw(arrays(np.float32, (USERS, ITEMS), elements=SCORES))) for _ in range(2)]
    weights = [draw(st.sampled_from([0.1, 0.5, 1.0, 3.0])) for _ in parts]
    return [part.masked_fill(left_out, -torch.inf) for part in parts], weights


def standardised(scores):
    mean = sum(scores) / max(len(scores), 1)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / max(len(scores), 1))
    return [(s - mean) / deviation if deviation else 0.0 for s in scores]


def reciprocal(scores):
    return [1 / (60 + 1 + sum(o > s for o in scores) + (sum(o == s for o in scores) - 1) / 2) for s in scores]


@pytest.mark.parametrize(("fuse", "normal"), [(fuse_scores, standardised), (fuse_ranks, reciprocal)])
@given(channels())
def test_each_candidate_gets_the_weighted_sum_of_what_each_channel_makes_of_it(fuse, normal, given_channels):
    parts, weights = given_channels
    fused = fuse(parts, weights)
    for user in range(USERS):
        items = [i for i in range(ITEMS) if parts[0][user, i] != -torch.inf]
        expected = [0.0] * len(items)
        for part, weight in zip(parts, weights, strict=True):
            for place, value in enumerate(normal([float(part[user, i]) for i in items])):
                expected[place] += weight * value
        assert fused[user, items].tolist() == pytest.approx(expected, abs=1e-9)
        assert fused[user].isfinite().sum() == len(items)


@pytest.mark.parametrize("fuse", WAYS.values(), ids=WAYS)
def test_a_channel_of_no_weight_changes_no_order_and_neither_does_the_scale_of_another(fuse):
    first, second = tensor([[0.9, 0.1, 0.5]]), tensor([[-5.0, 100.0, 7.0]])
    alone = fuse([first, second], [1.0, 0.0])
    assert alone.argsort(descending=True).tolist() == [[0, 2, 1]]
    torch.testing.assert_close(fuse([first, second], [1.0, 0.3]), fuse([10 * first - 2, second / 8], [1.0, 0.3]))


def test_places_that_both_channels_hold_high_come_first():
    # A is first and last, B second twice, C last and first: B's 2/62 is less than 1/61 + 1/63, but not by scores
    a_first, c_first = tensor([[3.0, 2.9, 0.0]]), tensor([[0.0, 2.9, 3.0]])
    assert fuse_ranks([a_first, c_first], [1.0, 1.0]).argmax() in (0, 2)
    assert fuse_scores([a_first, c_first], [1.0, 1.0]).argmax() == 1
