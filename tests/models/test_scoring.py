import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.models.scoring import score_chunks
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


def test_diverged_weights_are_named_with_the_cure():
    items = torch.ones(4, 2)
    items[2, 1] = torch.nan
    chunks = score_chunks(torch.ones(3, 2), items, Dot(), scores_at_once=8)
    with pytest.raises(ValueError, match=r"users 0 to 1 contain NaN.*diverged.*lower learning rate"):
        next(chunks)


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
