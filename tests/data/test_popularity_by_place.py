"""Popularity by place in a history, counted on the training part."""

import numpy as np
import pytest

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.popularity import WINDOWS, popularity_by_place


def histories(*rows):
    """Interactions of a user a row."""
    offsets = np.cumsum([0, *map(len, rows)])
    return Interactions(
        [str(i) for i in range(len(rows))], np.concatenate([np.array(row, np.int64) for row in rows]), None, offsets
    )


def test_a_window_counts_the_items_at_its_places_and_leans_on_the_overall_share():
    train = histories([0, 1, 2, 3], [0, 2, 1, 3])
    table = popularity_by_place(train, 5)
    share = np.array([3, 3, 3, 3, 1]) / 13  # 8 interactions, and one more for each of 5 items
    first_three = np.array([2, 2, 2, 0, 0])
    expected = np.log((first_three + 500 * share) / 506)
    np.testing.assert_allclose(table[:5, 0], expected - expected.mean(), rtol=1e-5, atol=1e-6)
    assert table.shape == (6, len(WINDOWS))


def test_what_is_taken_first_is_the_more_popular_at_the_first_places():
    table = popularity_by_place(histories(*[[0, 1, 2, 3, 4]] * 50), 5)
    assert table[0, 0] > table[4, 0]
    assert table[4, 2] > table[0, 2]  # places 3 to 9


def test_columns_have_mean_zero_and_an_unknown_item_has_the_mean_share():
    table = popularity_by_place(histories([0, 0, 1], [2]), 4)
    assert table[:-1].mean(0) == pytest.approx(np.zeros(len(WINDOWS)), abs=1e-6)
    assert np.exp(table[-1]) == pytest.approx(np.exp(table[:-1]).mean(0), rel=1e-5)


def test_nothing_to_count_is_no_division_by_zero():
    assert np.isfinite(popularity_by_place(histories([]), 3)).all()
