import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from recall_lightning.models.similarity import Cosine, Dot, Euclidean, Similarity
from recall_lightning.recipe import build

SIMILARITIES = [Cosine(), Dot(), Euclidean()]
VECTORS = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])  # whole rows of zeros, opposite and equal vectors turn up

# the worked example of docs/formulas.md
X = tensor([[2.3, 4.1], [5.6, 2.3], [4.1, 5.3]])
Y = tensor([[1.2, 2.1], [3.4, 1.9], [2.6, 3.2]])


def test_the_worked_example_has_these_nine_cosines():
    expected = tensor([[0.999969, 0.852538, 0.985400], [0.788800, 0.992823, 0.878171], [0.990316, 0.919975, 0.999715]])
    torch.testing.assert_close(Cosine()(X, Y), expected, atol=1e-6, rtol=0)


def test_the_worked_example_recalls_these_items_at_alpha_095():
    reached = Cosine()(X, Y) >= 0.95
    assert [{f"y{item + 1}" for item in row.nonzero().flatten()} for row in reached] == [
        {"y1", "y3"},
        {"y2"},
        {"y1", "y3"},
    ]


@pytest.mark.parametrize(("similarity", "best"), [(Cosine(), "y1"), (Dot(), "y3"), (Euclidean(), "y3")])
def test_the_worked_examples_best_item_for_x1_depends_on_the_similarity(similarity, best):
    assert f"y{int(similarity(X, Y)[0].argmax()) + 1}" == best


@given(arrays(np.float32, (3, 2), elements=VECTORS), arrays(np.float32, (4, 2), elements=VECTORS))
def test_every_similarity_agrees_with_its_formula_pair_by_pair(users, items):
    for similarity, slow in zip(SIMILARITIES, [slow_cosine, slow_dot, slow_euclidean], strict=True):
        expected = tensor([[slow(user, item) for item in items] for user in users])
        u, v = torch.from_numpy(users), torch.from_numpy(items)
        torch.testing.assert_close(similarity(u, v), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(similarity.pairs(u[:, None], v), expected, atol=1e-5, rtol=1e-5)


def slow_dot(u, v):
    return math.fsum(float(a) * float(b) for a, b in zip(u, v, strict=True))


def slow_cosine(u, v):
    lengths = math.sqrt(slow_dot(u, u) * slow_dot(v, v))
    return slow_dot(u, v) / lengths if lengths else 0.0


def slow_euclidean(u, v):
    return -math.fsum((float(a) - float(b)) ** 2 for a, b in zip(u, v, strict=True))


@pytest.mark.parametrize("similarity", SIMILARITIES, ids=lambda s: type(s).__name__)
def test_users_may_have_any_leading_dimensions(similarity):
    users, items = torch.randn(2, 3, 5), torch.randn(4, 5)
    scores = similarity(users, items)
    assert scores.shape == (2, 3, 4)
    torch.testing.assert_close(scores[1, 2], similarity(users[1, 2], items), atol=1e-5, rtol=1e-5)
    assert similarity.pairs(users, users.flip(0)).shape == (2, 3)


def test_zero_vectors_have_cosine_zero():
    users, items = tensor([[0.0, 0.0], [3.0, 4.0], [1e-30, 0.0]]), tensor([[0.0, 0.0], [6.0, 8.0]])
    torch.testing.assert_close(Cosine()(users, items), tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(Cosine().pairs(users[:2], items), tensor([0.0, 1.0]))


@pytest.mark.parametrize("similarity", SIMILARITIES, ids=lambda s: type(s).__name__)
def test_zero_vectors_have_moderate_gradients_of_first_and_second_order(similarity):
    users, items = torch.zeros(2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    for score in (similarity(users, items).sum(), similarity.pairs(users, items[:2]).sum()):
        first = torch.autograd.grad(score, [users, items], create_graph=True)
        second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), [users, items])
        for gradient in (*first, *second):
            assert gradient.abs().max() < 1000  # False for NaN, too


def test_gradients_are_those_of_finite_differences():
    users, items = torch.randn(2, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    for similarity in SIMILARITIES:
        assert torch.autograd.gradcheck(similarity, (users.requires_grad_(), items.requires_grad_()))
        assert torch.autograd.gradgradcheck(similarity, (users, items))


def test_no_euclidean_score_is_above_zero():
    vectors = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)) * 100
    scores = Euclidean()(vectors, vectors)
    assert scores.max() <= 0
    assert (
        2 * vectors @ vectors.T - vectors.square().sum(-1)[:, None] - vectors.square().sum(-1)
    ).max() > 0  # rounding


def test_a_similarity_can_be_rebuilt_from_its_recipe():
    for similarity in SIMILARITIES:
        rebuilt = build(similarity.recipe())
        assert type(rebuilt) is type(similarity)
        assert isinstance(rebuilt, Similarity)
