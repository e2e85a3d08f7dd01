"""Sequences: each interaction but a user's first is a target exactly once, however long histories are cut."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.sequences import cut_in_two, first_of_each, sequences

LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=8)


def interactions_of(*histories):
    items = np.array([item for history in histories for item in history], np.int64)
    lengths = np.array([len(history) for history in histories], np.int64)
    return Interactions([f"user {u}" for u in range(len(histories))], items, None, offsets_of(lengths))


def spans_of(train, max_history, first=None):
    return [(int(start), int(stop)) for start, stop in sequences(train, max_history, first)]


def test_a_long_history_is_cut_into_sequences_that_share_a_row():
    assert spans_of(interactions_of([0, 1, 2, 3, 4, 5], [6], [], [7, 8]), 2) == [(0, 2), (1, 4), (3, 6), (7, 9)]
    assert spans_of(interactions_of([0, 1, 2, 3, 4]), 4) == [(0, 5)]
    assert spans_of(interactions_of([0], []), 4) == []


def test_of_newcomers_the_first_interactions_alone_are_cut():
    train = interactions_of([0, 1, 2, 3, 4, 5], [6], [], [7, 8])
    assert spans_of(train, 2, first=4) == [(0, 2), (1, 4), (7, 9)]
    assert spans_of(train, 9, first=2) == [(0, 2), (7, 9)]


@given(LENGTHS, st.integers(1, 5), st.none() | st.integers(2, 9))
def test_every_interaction_but_a_users_first_is_a_target_exactly_once(lengths, max_history, first):
    train = interactions_of(*([0] * length for length in lengths))
    made = spans_of(train, max_history, first)
    targets = [row for start, stop in made for row in range(start + 1, stop)]
    place = np.arange(len(train)) - np.repeat(train.offsets[:-1], train.lengths)
    assert sorted(targets) == [row for row in range(len(train)) if 0 < place[row] < (first or len(train))]
    for start, stop in made:
        assert 2 <= stop - start <= max_history + 1
        assert len(set(train.users[start:stop])) == 1


@given(LENGTHS, st.none() | st.integers(2, 9))
def test_the_first_of_each_user_are_those_and_every_user_keeps_their_place(lengths, first):
    train = interactions_of(*(range(length) for length in lengths))
    made = first_of_each(train, first)
    assert [made.history(user).tolist() for user in range(len(lengths))] == [
        list(range(length))[:first] for length in lengths
    ]


def targets_of(starts, stops, real):
    return sorted((row, bool(of)) for a, b, of in zip(starts, stops, real, strict=True) for row in range(a + 1, b))


@given(LENGTHS, st.sampled_from([0.0, 0.4, 1.0]), st.integers(0, 3))
def test_a_cut_keeps_every_target_and_both_parts_have_a_history(lengths, share, seed):
    spans = sequences(interactions_of(*([0] * length for length in lengths)), 5)
    before, real = spans.copy(), np.arange(len(spans)) % 2 == 0
    made = cut_in_two(*spans.T, real, share, np.random.default_rng(seed))
    assert targets_of(*made) == targets_of(*before.T, real)
    assert (made[1] - made[0] >= 2).all()
    n_cut, longer = len(made[0]) - len(spans), int((before[:, 1] - before[:, 0] > 2).sum())
    assert {0.0: 0, 1.0: longer}.get(share, 0) <= n_cut <= (longer if share else 0)
    assert spans.tolist() == before.tolist()  # what was given is as it was
