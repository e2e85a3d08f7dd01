"""Popularity, whole and of parts of the training."""

import numpy as np
import pytest

from recall_lightning.baselines.popularity import FirstPopularity, LastPopularity, Popularity, RecentPopularity

ANN, BOB, CY = [0, 1, 2], [1, 2], [2, 3, 0, 1]


def places(scores):
    """Items, best first."""
    return np.argsort(-scores, kind="stable").tolist()


def test_popularity_counts_training_interactions(fitted, ask):
    scores = ask(fitted(Popularity(), [ANN, BOB, CY], 5), [[], [0]])
    assert np.round(scores).tolist() == [[2, 3, 3, 1, 0]] * 2


def test_recent_popularity_counts_the_newest_share_of_all_interactions(fitted, ask):
    times = [1, 2, 3, 4, 9, 5, 6, 7, 8]  # the newest third: 9 is bob's item 2, 8 cy's 1, 7 cy's 0
    scores = ask(fitted(RecentPopularity(share=0.3), [ANN, BOB, CY], 5, times), [[]])
    assert np.round(scores).tolist() == [[1, 1, 1, 0, 0]]
    assert places(scores[0]) == [1, 2, 0, 3, 4]  # ties by popularity


def test_interactions_as_old_as_the_oldest_of_the_newest_count_too(fitted, ask):
    scores = ask(fitted(RecentPopularity(share=0.1), [ANN, BOB, CY], 5, times=[1, 1, 1, 1, 1, 1, 7, 7, 1]), [[]])
    assert np.round(scores).tolist() == [[1, 0, 0, 1, 0]]


def test_without_times_the_newest_are_those_at_the_ends_of_histories(fitted, ask):
    scores = ask(fitted(RecentPopularity(share=0.3), [ANN, BOB, CY], 5), [[]])
    assert np.round(scores).tolist() == [[0, 1, 2, 0, 0]]  # the last of ann, bob and cy


@pytest.mark.parametrize(("contender", "expected"), [
    (FirstPopularity(n=1), [1, 1, 1, 0, 0]),
    (FirstPopularity(n=3), [2, 2, 3, 1, 0]),
    (LastPopularity(n=1), [0, 1, 2, 0, 0]),
    (LastPopularity(n=3), [2, 3, 2, 1, 0]),
])  # fmt: skip
def test_popularity_of_first_and_last_interactions(contender, expected, fitted, ask):
    assert np.round(ask(fitted(contender, [ANN, BOB, CY], 5), [[3]])).tolist() == [expected]
