import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.models.similarity import Cosine, Dot, Euclidean
from recall_lightning.models.top_k import RankedItems, top_k

INF = float("inf")
COARSE = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 1.0])  # ties, zeros, negatives; products are exact in any order


@given(arrays(np.float32, (4, 2), elements=COARSE), arrays(np.float32, (9, 2), elements=COARSE),
       arrays(np.int64, (4, 6), elements=st.integers(-1, 8)), arrays(np.bool_, 9), st.integers(1, 12),
       st.integers(1, 40))  # fmt: skip
def test_top_k_agrees_with_sorting_every_row_in_python(users, items, known, candidates, k, scores_at_once):
    users, items, known, candidates = map(torch.from_numpy, (users, items, known, candidates))
    scores, rows = top_k(users, items, Dot(), k, known=known, candidates=candidates, scores_at_once=scores_at_once)
    for user in range(4):
        allowed = [row for row in range(9) if candidates[row] and row not in known[user]]
        ranking = sorted((-float(users[user] @ items[row]), row) for row in allowed)[:k]
        missing = k - len(ranking)
        assert rows[user].tolist() == [row for _, row in ranking] + [-1] * missing
        assert scores[user].tolist() == [-score for score, _ in ranking] + [-INF] * missing


def test_scores_may_be_replaced_by_others_which_see_no_known_item_and_do_not_depend_on_the_candidates():
    seen = []

    def rescored(chunk, scores):
        seen.append((chunk, scores.tolist()))
        return -scores.double().masked_fill(scores == -INF, INF)

    known, candidates = tensor([[1], [-1], [0]]), tensor([True, True, False, True])
    scores, rows = top_k(
        tensor([[1.0], [2.0], [3.0]]), tensor([[1.0], [2.0], [3.0], [4.0]]), Dot(), 3, known=known,
        candidates=candidates, rescored=rescored, scores_at_once=8,
    )  # fmt: skip
    assert seen == [
        (slice(0, 2), [[1, -INF, 3, 4], [2, 4, 6, 8]]),
        (slice(2, 3), [[-INF, 6, 9, 12]]),
    ]
    assert rows.tolist() == [[0, 3, -1], [0, 1, 3], [1, 3, -1]]
    assert scores.tolist() == [[-1, -4, -INF], [-2, -4, -8], [-6, -12, -INF]]


def test_equal_scores_go_to_the_lower_rows_also_at_the_boundary_of_k():
    items = torch.zeros(1000, 1)
    items[700] = 1
    _, rows = top_k(torch.ones(3, 1), items, Dot(), 4)
    assert rows.tolist() == [[700, 0, 1, 2]] * 3


def test_top_k_fills_up_with_minus_one_when_k_exceeds_the_catalogue():
    scores, rows = top_k(tensor([[1.0]]), tensor([[1.0], [2.0]]), Dot(), 3)
    assert (scores.tolist(), rows.tolist()) == ([[2.0, 1.0, -INF]], [[1, 0, -1]])


def test_no_users_or_no_items_is_fine():
    assert top_k(torch.ones(0, 3), torch.ones(4, 3), Cosine(), 2)[1].shape == (0, 2)
    assert top_k(torch.ones(2, 3), torch.ones(0, 3), Cosine(), 2)[1].tolist() == [[-1, -1]] * 2


def test_k_of_zero_is_named_with_the_cure():
    with pytest.raises(ValueError, match=r"k is 0.*give k of 1 or more"):
        top_k(torch.ones(1, 2), torch.ones(3, 2), Dot(), 0)


def test_diverged_weights_are_named_with_the_cure_though_nan_is_no_candidate():
    items = torch.ones(4, 2)
    items[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"users 0 to 2 contain NaN.*diverged"):
        top_k(torch.ones(3, 2), items, Dot(), 1, candidates=tensor([True, True, False, True]))


def test_items_made_ready_rank_any_number_of_batches_as_those_that_are_not():
    draw = torch.Generator().manual_seed(0)
    users, items = torch.randn(2500, 8, generator=draw), torch.randn(300, 8, generator=draw)
    ranked = RankedItems(items, Cosine())
    scores, rows = ranked.top_k(users, 7)
    expected = Cosine()(users, items).sort(dim=-1, descending=True, stable=True)
    assert rows.equal(expected.indices[:, :7])
    torch.testing.assert_close(scores, expected.values[:, :7])
    assert ranked.top_k(users[:3], 7)[1].equal(rows[:3])


def test_similarities_that_are_no_mere_inner_product_and_other_types_are_ranked_by_whole_rows():
    draw = torch.Generator().manual_seed(0)
    users, items = torch.randn(9, 8, generator=draw), torch.randn(300, 8, generator=draw)
    for similarity, dtype in [(Euclidean(), torch.float32), (Dot(), torch.float64), (Dot(), torch.bfloat16)]:
        scores, rows = top_k(users.to(dtype), items.to(dtype), similarity, 7)
        wide = torch.promote_types(dtype, torch.float32)
        expected = similarity(users.to(dtype).to(wide), items.to(dtype).to(wide)).topk(7)
        assert rows.equal(expected.indices)
        assert scores.dtype == wide


@pytest.mark.parametrize("gradient", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_top_k_takes_no_gradient_and_keeps_float32_under_autocast(gradient):
    with gradient(), torch.autocast("cpu", torch.bfloat16):
        users, items = torch.rand(20, 16, requires_grad=True), torch.rand(300, 16, requires_grad=True)
        scores, _ = top_k(users, items, Dot(), 5)
        assert not scores.requires_grad
    exact = (users.detach().double() @ items.detach().double().T).topk(5).values
    torch.testing.assert_close(scores.double(), exact, rtol=1e-6, atol=0)
