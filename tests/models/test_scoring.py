import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.models import scoring
from recall_lightning.models.scoring import score_chunks, top_k
from recall_lightning.models.similarity import Cosine, Dot, Similarity

INF = float("inf")
COARSE = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 1.0])  # ties, zeros, negatives; products are exact in any order


class Watched(Similarity):
    """A dot product that remembers how many scores it was asked for at a time."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def factors(self, users, items):
        return users, items

    def product(self, left, right, out=None):
        self.shapes.append((len(left), len(right)))
        return torch.matmul(left, right.T, out=out)


def test_known_items_and_items_that_are_no_candidates_score_minus_infinity():
    users, items = tensor([[1.0], [2.0]]), tensor([[1.0], [2.0], [3.0], [4.0]])
    known = tensor([[3, -1], [-1, 0]])
    candidates = tensor([True, True, False, True])
    ((chunk, scores),) = score_chunks(users, items, Dot(), known=known, candidates=candidates)
    assert chunk == slice(0, 2)
    assert scores.tolist() == [[1.0, 2.0, -INF, -INF], [-INF, 4.0, -INF, 8.0]]


@given(arrays(np.float32, (7, 3), elements=COARSE), arrays(np.float32, (5, 3), elements=COARSE),
       arrays(np.int64, (7, 4), elements=st.integers(-1, 4)), arrays(np.bool_, 5), st.integers(0, 40))  # fmt: skip
def test_scoring_in_chunks_equals_scoring_all_at_once(users, items, known, candidates, scores_at_once):
    users, items, known, candidates = map(torch.from_numpy, (users, items, known, candidates))
    watched = Watched()
    chunks = [
        (chunk, scores.clone())
        for chunk, scores in score_chunks(
            users, items, watched, known=known, candidates=candidates, scores_at_once=scores_at_once
        )
    ]
    expected = users @ items.T
    for user, rows in enumerate(known):
        expected[user, rows[rows >= 0]] = -INF
    expected[:, ~candidates] = -INF
    assert torch.cat([scores for _, scores in chunks]).equal(expected)
    assert [user for chunk, _ in chunks for user in range(chunk.start, chunk.stop)] == list(range(7))
    assert all(n_users * n_items <= scores_at_once or n_users == 1 for n_users, n_items in watched.shapes)


def test_a_chunk_is_as_large_as_allowed():
    watched = Watched()
    list(score_chunks(torch.ones(10, 2), torch.ones(5, 2), watched, scores_at_once=20))
    assert watched.shapes == [(4, 5), (4, 5), (2, 5)]


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


def test_diverged_weights_are_named_with_the_cure():
    items = torch.ones(4, 2)
    items[2, 1] = torch.nan
    chunks = score_chunks(torch.ones(3, 2), items, Dot(), scores_at_once=8)
    with pytest.raises(ValueError, match=r"users 0 to 1 contain NaN.*diverged.*lower learning rate"):
        next(chunks)
    with pytest.raises(ValueError, match="diverged"):  # though NaN is no candidate
        top_k(torch.ones(3, 2), items, Dot(), 1, candidates=tensor([True, True, False, True]))


def test_k_of_zero_is_named_with_the_cure():
    with pytest.raises(ValueError, match=r"k is 0.*give k of 1 or more"):
        top_k(torch.ones(1, 2), torch.ones(3, 2), Dot(), 0)


def test_scores_keep_float32_under_autocast_and_of_bfloat16_vectors():
    users, items = torch.rand(20, 16), torch.rand(30, 16)
    with torch.autocast("cpu", torch.bfloat16):
        ((_, scores),) = score_chunks(users, items, Dot())
    assert scores.equal(users @ items.T)
    ((_, scores),) = score_chunks(users.bfloat16(), items.bfloat16(), Dot())
    assert scores.equal(users.bfloat16().float() @ items.bfloat16().float().T)


def test_scores_carry_no_gradient_and_leave_the_callers_gradients_on():
    users = torch.ones(3, 2, requires_grad=True)
    for _, scores in score_chunks(users, torch.ones(4, 2), Cosine(), scores_at_once=4):
        assert not scores.requires_grad
        assert (users * 2).requires_grad


@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 5), st.integers(0, 10**6), st.integers(2, 6))
def test_the_best_columns_of_wide_rows_are_those_of_a_stable_sort_whatever_is_equal(n, columns, k, seed, group):
    k = min(k, columns)
    levels = torch.tensor([-torch.inf, -1.0, 0.0, 1.0, 2.0])
    scores = levels[torch.randint(0, 5, (n, columns), generator=torch.Generator().manual_seed(seed))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "GROUP", group)
        values, found = scoring.best_columns(scores, k)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    assert values.equal(expected.values[:, :k])
    assert found.equal(expected.indices[:, :k])


def test_groups_are_looked_through_where_rows_are_wide():
    scores = torch.rand(3, 64 * 25 + 7, generator=torch.Generator().manual_seed(0))
    scores[0, -1], scores[1, :] = 2.0, 0.5
    values, found = scoring.best_columns(scores, 10)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    assert found.equal(expected.indices[:, :10])
    assert values.equal(expected.values[:, :10])
    assert found[0, 0] == 64 * 25 + 6
    assert found[1].tolist() == list(range(10))


@pytest.mark.parametrize("gradient", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_scores_may_be_overwritten_whether_or_not_the_caller_takes_gradients(gradient):
    users = torch.ones(3, 2, requires_grad=True)
    with gradient():
        found = []
        for _, scores in score_chunks(
            users, torch.ones(4, 2), Dot(), added=lambda chunk: torch.ones(1, 4), known=tensor([[0], [1], [-1]]),
            scores_at_once=4,
        ):  # fmt: skip
            scores += 1
            found.append(scores.tolist()[0])
    assert found == [[-INF, 4.0, 4.0, 4.0], [4.0, -INF, 4.0, 4.0], [4.0] * 4]
