"""Splits: what is held back is the newest, and nothing of it is trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.interactions import InteractionLog, group_by_user
from recall_lightning.data.splits import leave_last_out
from recall_lightning.errors import InputError

ITEMS = ["alien", "brazil", "dune", "heat", "tron"]


def typed(text):
    """`"ann heat 1, bob alien 2"`: user, item, time."""
    return interactions_of([(user, item, int(time)) for user, item, time in (row.split() for row in text.split(","))])


def interactions_of(rows):
    user_ids = list(dict.fromkeys(user for user, _, _ in rows))
    log = InteractionLog(
        "ratings.csv", user_ids, ITEMS, np.array([user_ids.index(user) for user, _, _ in rows], np.int64),
        np.array([ITEMS.index(item) for _, item, _ in rows], np.int64), np.array([time for _, _, time in rows]),
    )  # fmt: skip
    return group_by_user(log, ITEMS, ties="row")


def pairs(part):
    return {(part.user_ids[u], ITEMS[i]) for u, i in zip(part.users, part.items, strict=True)}


def cases(part):
    """{user: (history, targets)}."""
    made, items = part.interactions, part.interactions.items
    return {
        made.user_ids[user]: ([ITEMS[i] for i in items[slice(*history)]], [ITEMS[i] for i in items[slice(*targets)]])
        for user, history, targets in zip(part.users, part.history, part.targets, strict=True)
    }


def test_leave_last_out_holds_back_the_two_newest_and_trains_on_lone_interactions():
    split = leave_last_out(typed("ann heat 1, ann alien 2, ann brazil 3, bob alien 5"))
    assert pairs(split.train) == {("ann", "heat"), ("bob", "alien")}
    assert cases(split.validation) == {"ann": (["heat"], ["alien"])}
    assert cases(split.test) == {"ann": (["heat", "alien"], ["brazil"])}


def test_a_user_with_two_interactions_has_a_test_case_but_none_for_validation():
    split = leave_last_out(typed("ann heat 1, ann alien 2"))
    assert pairs(split.train) == {("ann", "heat")}
    assert (cases(split.validation), len(split.validation)) == ({}, 0)
    assert cases(split.test) == {"ann": (["heat"], ["alien"])}


def test_users_keep_their_place_in_the_training_part():
    made = typed("ann heat 1, ann alien 2, bob heat 3, bob alien 4, bob dune 5, cid dune 6")
    train = leave_last_out(made).train
    assert train.user_ids == made.user_ids
    assert train.lengths.tolist() == [1, 1, 1]
    assert train.times is not None
    assert len(train.times) == len(train)


def test_nobody_with_two_interactions_is_an_error():
    with pytest.raises(InputError, match=r"^data\.splits: each of the 2 user\(s\) has one .* give longer histories$"):
        leave_last_out(typed("ann heat 1, bob alien 2"))


ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(ITEMS)), unique=True, min_size=1, max_size=20
).filter(lambda rows: len({user for user, _ in rows}) < len(rows))  # fmt: skip


@given(ROWS)
def test_the_parts_are_disjoint_and_together_all_there_is(rows):
    made = interactions_of([(user, item, time) for time, (user, item) in enumerate(rows)])
    split = leave_last_out(made)
    train = pairs(split.train)
    validation = {(user, target) for user, (_, targets) in cases(split.validation).items() for target in targets}
    test = {(user, target) for user, (_, targets) in cases(split.test).items() for target in targets}
    assert len(train) + len(validation) + len(test) == len(made) == len(rows)
    assert train | validation | test == set(rows)


@given(ROWS)
def test_a_history_is_all_of_a_users_past_and_ends_right_before_the_target(rows):
    made = interactions_of([(user, item, time) for time, (user, item) in enumerate(rows)])
    split = leave_last_out(made)
    whole = {user: [item for u, item in rows if u == user] for user, _ in rows}
    assert cases(split.test) == {u: (items[:-1], items[-1:]) for u, items in whole.items() if len(items) >= 2}
    assert cases(split.validation) == {u: (items[:-2], items[-2:-1]) for u, items in whole.items() if len(items) >= 3}


@given(ROWS, st.randoms())
def test_the_files_order_changes_nothing_where_times_differ(rows, random):
    timed = [(user, item, time) for time, (user, item) in enumerate(rows)]
    once, again = (leave_last_out(interactions_of(r)) for r in (timed, random.sample(timed, len(timed))))
    assert pairs(once.train) == pairs(again.train)
    assert cases(once.validation) == cases(again.validation)
    assert cases(once.test) == cases(again.test)
