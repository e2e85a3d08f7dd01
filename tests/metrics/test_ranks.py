import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.metrics import EXCLUDED, target_ranks

INF = float("inf")
SCORES = st.sampled_from([-INF, -1.0, -0.25, 0.0, 0.25, INF])  # excluded items, ties, zeros, negative cosines


@given(
    arrays(np.float32, (4, 9), elements=SCORES),
    arrays(np.int64, st.sampled_from([(4, 2), (4, 5)]), elements=st.integers(-1, 8)),
)
def test_ranks_agree_with_counting_by_hand(scores, targets):
    ranks = target_ranks(torch.from_numpy(scores), torch.from_numpy(targets))
    assert ranks.dtype == torch.int64
    assert ranks.tolist() == [slow_ranks(s, t) for s, t in zip(scores.tolist(), targets.tolist(), strict=True)]


def slow_ranks(scores, targets):
    return [slow_rank(scores, targets, column) for column in range(len(targets))]


def slow_rank(scores, targets, column):
    target = targets[column]
    if target == -1 or target in targets[:column]:
        return -1
    if scores[target] == -INF:
        return EXCLUDED
    before = 0
    for item, score in enumerate(scores):
        if item in targets:
            before += score > scores[target] or (score == scores[target] and targets.index(item) < column)
        else:
            before += score >= scores[target]
    return before


def test_a_tie_counts_against_the_target():
    assert target_ranks(tensor([[0.5, 0.5, 0.1]]), tensor([0])).tolist() == [[1]]


def test_a_model_that_scores_all_items_alike_ranks_the_target_last():
    assert target_ranks(torch.zeros(1, 100), tensor([0])).tolist() == [[99]]


def test_tied_relevant_items_stand_in_the_order_of_their_columns_behind_the_irrelevant_one():
    assert target_ranks(torch.zeros(1, 3), tensor([[2, 0]])).tolist() == [[1, 2]]


def test_a_relevant_item_named_twice_counts_once():
    assert target_ranks(tensor([[0.3, 0.2, 0.1]]), tensor([[1, 1, 2, -1]])).tolist() == [[1, -1, 2, -1]]


def test_a_relevant_item_that_is_no_candidate_is_a_hit_at_no_k():
    ranks = target_ranks(tensor([[0.3, -INF, -INF]]), tensor([[1, 0]]))
    assert ranks.tolist() == [[EXCLUDED, 0]]
    assert EXCLUDED > 10**18


def test_excluded_irrelevant_items_stand_before_nobody():
    assert target_ranks(tensor([[-INF, -0.9, -INF]]), tensor([1])).tolist() == [[0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scores_may_have_any_float_type_and_layout(dtype):
    scores = tensor([[0.25, 0.5], [0.5, -1.0], [0.0, 0.5]], dtype=dtype).T  # (2, 3), not contiguous
    assert target_ranks(scores, tensor([[0, 2], [0, -1]])).tolist() == [[1, 2], [1, -1]]


def test_no_users_and_nothing_relevant_are_fine():
    assert target_ranks(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2)
    assert target_ranks(torch.zeros(2, 3), torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)


def test_nan_scores_are_named_with_the_cure():
    with pytest.raises(ValueError, match=r"NaN.*diverged.*lower learning rate"):
        target_ranks(tensor([[0.1, float("nan")]]), tensor([0]))


def test_targets_of_other_users_than_the_scores_are_refused():
    with pytest.raises(ValueError, match=r"scores are of 3 users, targets of 1.*same users"):
        target_ranks(torch.zeros(3, 4), tensor([[0]]))
