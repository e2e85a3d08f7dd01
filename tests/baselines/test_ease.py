"""EASE against the problem that it solves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.baselines.base import UnavailableError
from recall_lightning.baselines.ease import EASE

N_ITEMS = 5
subsets = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS)


@given(st.lists(subsets, min_size=1, max_size=6), st.sampled_from([1.0, 50.0]))
def test_its_weights_are_the_ridge_regression_of_each_item_on_the_others(fitted, train, l2):
    taken = np.zeros((len(train), N_ITEMS))
    for user, history in enumerate(train):
        taken[user, history] = 1
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for item in range(N_ITEMS):
        others = [i for i in range(N_ITEMS) if i != item]
        x = taken[:, others]
        expected[others, item] = np.linalg.solve(x.T @ x + l2 * np.eye(N_ITEMS - 1), x.T @ taken[:, item])
    np.testing.assert_allclose(fitted(EASE(l2=l2), train, N_ITEMS).weights.numpy(), expected, atol=1e-6)


def test_scores_sum_the_weights_of_the_newest_items(fitted, ask):
    contender = fitted(EASE(last=2, l2=1), [[0, 1], [0, 2], [1, 2, 3], [3, 0]], 4)
    weights = contender.weights.numpy()
    scores = ask(contender, [[0, 1, 2], [3], []])
    np.testing.assert_allclose(scores, [weights[1] + weights[2], weights[3], np.zeros(4)], atol=1e-6)
    assert np.argsort(-scores[2], kind="stable").tolist() == [0, 1, 2, 3]  # three users took 0, two each of the others


def test_a_catalogue_too_large_for_its_inverse_is_told_with_what_it_takes(fitted):
    with pytest.raises(UnavailableError, match=r"needs 3 GiB for 12000 x 12000 items, more than 2 GiB"):
        fitted(EASE(max_gib=2), [[0, 1]], 12_000)
