"""BPR: who is described by what."""

import numpy as np
import pytest

from recall_lightning.baselines.bpr import BPR

pytest.importorskip("implicit.bpr", reason="the extra `compare` isn't installed")
TRAIN = [[0, 1, 2], [1, 2], [2, 0, 1], [4, 5], [5, 4, 3], [], [4, 5, 3]] * 4


def test_a_user_is_the_mean_of_the_newest_items_or_what_was_learned(fitted, ask):
    bpr = fitted(BPR(last=2), TRAIN, 6)
    mean = (bpr.items[0] + bpr.items[2]) / 2
    expected = (mean @ bpr.items.T + bpr.bias).numpy()
    np.testing.assert_allclose(ask(bpr, [[5, 0, 2]])[0], expected, rtol=1e-5)
    bpr.settings["learned"] = True
    learned = (bpr.users[0] @ bpr.items.T + bpr.bias).numpy()
    scores = ask(bpr, [[5, 0, 2], [5, 0, 2]], users=[0, 5])  # user 5 trained on nothing
    np.testing.assert_allclose(scores, [learned, expected], rtol=1e-5)


def test_it_learns_what_goes_together(fitted, ask):
    bpr = fitted(BPR(iterations=100), TRAIN, 6)
    best = np.argsort(-ask(bpr, [[0, 1], [4]]))
    assert 2 in best[0, :3]
    assert 5 in best[1, :2]


def test_equal_inputs_give_equal_scores(fitted, ask):
    one, other = (fitted(BPR(), TRAIN, 6) for _ in range(2))
    assert (ask(one, [[0, 2], []]) == ask(other, [[0, 2], []])).all()
