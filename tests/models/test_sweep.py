import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from recall_lightning.models import sweep as sweeping
from recall_lightning.models.keys import NONE, rows_of, values_of
from recall_lightning.models.sweep import CrowdedError, Reach, sweep

LEVELS = torch.tensor([-2.0, -0.5, 0.0, 0.25, 1.0])  # products are exact in any order, and many are equal


def draw(shape, seed, levels=LEVELS):
    return levels[torch.randint(0, len(levels), shape, generator=torch.Generator().manual_seed(seed))]


@given(
    st.integers(1, 5), st.integers(1, 90), st.integers(1, 12), st.integers(1, 40), st.integers(0, 10**6),
    st.sampled_from(["any", "ascending", "all equal"]), st.sampled_from([(1, 2), (2, 4), (8, 32)]), st.booleans(),
)  # fmt: skip
def test_the_best_are_those_of_a_stable_sort_whatever_is_equal_or_left_out(
    n_users, n_items, k, block, seed, order, groups, some_left_out
):
    left, right = draw((n_users, 3), seed), draw((n_items, 3), seed + 1)
    if order == "ascending":
        right, left = right.sort(dim=0).values, left.abs()  # each block beats all before it
    elif order == "all equal":
        right = right[:1].expand(n_items, -1)
    known = candidates = None
    scores = left @ right.T
    if some_left_out:
        known = draw((n_users, 4), seed + 2, torch.arange(-1, n_items))
        candidates = draw((n_items,), seed + 3, tensor([True, False]))
        scores[:, ~candidates] = -torch.inf
        for user, rows in enumerate(known):
            scores[user, rows[rows >= 0]] = -torch.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "_GROUPS", groups)
        keys = sweep(left, right, k, known=known, candidates=candidates, block=block)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    width = min(k, n_items)
    values = expected.values[:, :width].numpy()
    rows = np.where(values == -np.inf, -1, expected.indices[:, :width].numpy())
    for user in range(n_users):
        assert rows_of(keys)[user][: (rows[user] >= 0).sum()].tolist() == rows[user][rows[user] >= 0].tolist()
        assert values_of(keys)[user][: (rows[user] >= 0).sum()].tolist() == values[user][rows[user] >= 0].tolist()
        assert (rows_of(keys)[user][(rows[user] >= 0).sum() :] == -1).all()


def test_no_more_scores_are_made_at_a_time_than_a_block(monkeypatch):
    shapes = []
    product = torch.mm

    def watched(left, right, *, out):
        shapes.append((len(left), right.shape[1], out.data_ptr()))
        return product(left, right, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    sweep(torch.ones(3, 2), torch.ones(10, 2), 2, block=4)
    assert [shape[:2] for shape in shapes] == [(4, 3), (4, 3), (2, 3)]
    assert len({memory for _, _, memory in shapes}) == 1


def near(least, width=100):
    """All whose score, of those that were rounded, is at most so much less than the k-th best."""
    return Reach(lambda kth: (kth - least).astype(np.float32), width)


def test_within_reach_are_all_scores_that_are_not_far_enough_below_the_kth_best():
    right = (100.0 + torch.arange(2000) % 100)[:, None].bfloat16()  # exact
    keys = sweep(torch.ones(2, 1).bfloat16(), right, 4, reach=near(2))
    assert rows_of(keys).tolist() == [[100 * i + best for best in (99, 98, 97) for i in range(20)]] * 2


def test_a_reach_that_holds_too_many_items_or_scores_below_zero_is_refused():
    ones, right = torch.ones(2, 1).bfloat16(), (100.0 + torch.arange(2000) % 100)[:, None].bfloat16()
    with pytest.raises(CrowdedError):
        sweep(ones, right, 4, reach=near(2, width=59))
    with pytest.raises(CrowdedError):
        sweep(ones, right - 199, 4, reach=near(2))
    with pytest.raises(CrowdedError):  # all alike
        sweep(ones, right * 0 + 1, 4, reach=near(0.5))


def test_users_may_have_different_numbers_within_reach():
    right = torch.ones(2000, 2)
    right[:1800:200, 0], right[::100, 1] = 100.0, 100.0
    keys = sweep(torch.eye(2).bfloat16(), right.bfloat16(), 5, reach=near(1))
    assert [rows[rows >= 0].tolist() for rows in rows_of(keys)] == [
        list(range(0, 1800, 200)),
        list(range(0, 2000, 100)),
    ]
    assert (keys[0, 9:] == NONE).all()
