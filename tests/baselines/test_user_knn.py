"""UserKNN against loops over users."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.baselines.user_knn import UserKNN

N_ITEMS = 6
subsets = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS)


@given(st.lists(subsets, min_size=4, max_size=7), st.lists(subsets, min_size=1, max_size=4), st.sampled_from([0, 10]),
       st.sampled_from([1, 2, None]))  # fmt: skip
def test_scores_are_sums_over_like_users_but_oneself(fitted, ask, train, asked, shrink, last):
    contender = fitted(UserKNN(shrink=shrink, last=last), train, N_ITEMS)
    expected = np.zeros((len(asked), N_ITEMS))
    for user, history in enumerate(asked):
        profile = history[-last:] if last else history
        for other in range(len(train)):
            together = len(set(profile) & set(train[other]))
            if other != user and together:
                likeness = together / ((len(profile) * len(train[other])) ** 0.5 + shrink)
                expected[user, train[other]] += likeness
    np.testing.assert_allclose(ask(contender, asked), expected, rtol=1e-5, atol=1e-12)


def test_only_the_k_nearest_users_count(fitted, ask):
    train = [[0, 5], [0, 1, 2], [0, 3], [4]]
    contender = fitted(UserKNN(k=1, last=None), train, 6)
    # user 3 asks with item 0: users 0 and 2 are nearest (1 / sqrt 2), user 0 first; user 0's own row never counts
    assert np.round(ask(contender, [[0]], users=[3]), 3).tolist() == [[0.707, 0, 0, 0, 0, 0.707]]
    assert np.round(ask(contender, [[0]], users=[0]), 3).tolist() == [[0.707, 0, 0, 0.707, 0, 0]]


def test_someone_who_is_not_of_the_training_has_all_of_it_for_neighbours(fitted, ask):
    contender = fitted(UserKNN(last=None), [[0, 5], [1], [0, 3]], 6)
    found = ask(contender, [[0], [0]], users=[-1, 2])
    assert np.round(found, 3).tolist() == [[1.414, 0, 0, 0.707, 0, 0.707], [0.707, 0, 0, 0, 0, 0.707]]
