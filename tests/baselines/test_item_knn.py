"""ItemKNN against loops over items and users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.baselines import item_knn
from recall_lightning.baselines.item_knn import ItemKNN

N_ITEMS = 6
subsets = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS)


@given(st.lists(subsets, min_size=1, max_size=6), st.lists(subsets, min_size=1, max_size=4), st.sampled_from([0, 10]),
       st.sampled_from([1, 2, None]))  # fmt: skip
def test_scores_are_sums_of_shrunk_cosines(fitted, ask, train, asked, shrink, last):
    contender = fitted(ItemKNN(shrink=shrink, last=last), train, N_ITEMS)
    expected = np.zeros((len(asked), N_ITEMS))
    for row, history in enumerate(asked):
        for item in history[-last:] if last else history:
            expected[row] += [slow_similarity(train, item, other, shrink) for other in range(N_ITEMS)]
    np.testing.assert_allclose(ask(contender, asked), expected, rtol=1e-5, atol=1e-12)


def slow_similarity(train, a, b, shrink):
    together = sum(a in history and b in history for history in train)
    size = (sum(a in history for history in train) * sum(b in history for history in train)) ** 0.5
    return together / (size + shrink) if together and a != b else 0.0


@pytest.mark.parametrize("at_once", [1, 2, 512])
def test_an_item_is_known_by_its_k_nearest(fitted, ask, monkeypatch, at_once):
    monkeypatch.setattr(item_knn, "ITEMS_AT_ONCE", at_once)
    train = [[0, 1], [0, 1], [0, 1], [0, 2], [0, 2], [0, 3], [4]]
    contender = fitted(ItemKNN(k=2, last=None), train, 5)
    assert (np.round(ask(contender, [[0]]), 3)).tolist() == [[0, 0.707, 0.577, 0, 0]]
    contender.settings["k"] = 1
    contender = fitted(contender, train, 5)
    assert (np.round(ask(contender, [[0], [3]]), 3)).tolist() == [[0, 0.707, 0, 0, 0], [0.408, 0, 0, 0, 0]]
