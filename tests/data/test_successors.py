"""successors and neighbours: what was taken after each item and beside it, counted the slow way."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.successors import neighbours, successor_counts, successors

HISTORIES = st.lists(st.lists(st.integers(0, 4), max_size=7), min_size=1, max_size=5)


def grouped(histories):
    items = np.array([item for history in histories for item in history], np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    return Interactions([str(u) for u in range(len(histories))], items, None, offsets)


@given(HISTORIES, st.integers(1, 8))
def test_counts_that_are_added_up_piece_by_piece_are_the_same(histories, window):
    at_once = successor_counts(grouped(histories), 5, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recall_lightning.data.successors._PENDING", 1)
        for one, other in zip(successor_counts(grouped(histories), 5, window), at_once, strict=True):
            assert one.tolist() == pytest.approx(other.tolist())


@given(HISTORIES, st.integers(1, 8), st.integers(1, 6))
def test_each_item_has_its_most_frequent_successors_by_how_soon_and_how_often_they_came(histories, window, most):
    counts, met = Counter(), Counter(item for history in histories for item in history)
    for history in histories:
        for here, item in enumerate(history):
            for distance in range(1, min(window, len(history) - 1 - here) + 1):
                counts[item, history[here + distance]] += 1 / distance
    after, share = successors(grouped(histories), 5, window=window, most=most)
    for item in range(5):
        follow = sorted((-round(count, 9), j) for (i, j), count in counts.items() if i == item)[:most]
        found = [(row, value) for row, value in zip(after[item], share[item], strict=True) if row >= 0]
        assert [row for row, _ in found] == [row for _, row in follow]
        assert [value for _, value in found] == pytest.approx([-count / met[item] for count, _ in follow], rel=1e-5)
        assert not share[item, len(found) :].any()
    assert after.shape == share.shape
    assert after.shape[1] <= most


@given(HISTORIES, st.integers(1, 8), st.integers(1, 6))
def test_each_item_has_its_nearest_neighbours_by_the_cosine_of_who_took_them_in_whichever_order(
    histories, window, most
):
    counts, met = Counter(), Counter(item for history in histories for item in history)
    for history in histories:
        for here, item in enumerate(history):
            for there, other in enumerate(history):
                if item != other and abs(here - there) <= window:
                    counts[item, other] += 1
    near, share = neighbours(grouped(histories), 5, window=window, most=most)
    for item in range(5):
        cosines = [(-(count / (met[i] * met[j]) ** 0.5), j) for (i, j), count in counts.items() if i == item]
        found = [(row, value) for row, value in zip(near[item], share[item], strict=True) if row >= 0]
        assert [row for row, _ in found] == [j for _, j in sorted(cosines)[:most]]
        assert [value for _, value in found] == pytest.approx([counts[item, j] / met[item] for j, _ in found])
