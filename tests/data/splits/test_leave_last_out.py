"""leave_last_out: what is held back is each user's newest, and nothing of it is trained on."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typed_tables import (
    ANY,
    DISTINCT,
    TIED,
    all_of,
    asked,
    assert_sound,
    in_order,
    interactions_of,
    known,
    names,
    pairs,
    read,
    targets,
    triples,
    typed,
)

from recall_lightning.data.splits import leave_last_out
from recall_lightning.errors import InputError


def test_leave_last_out_holds_back_the_two_newest_and_trains_on_lone_interactions():
    split = leave_last_out(typed("ann heat 1, ann alien 2, ann brazil 3, bob alien 5"))
    assert pairs(split.train) == {("ann", "heat"), ("bob", "alien")}
    assert asked(split.validation) == {"ann": (["heat"], ["alien"])}
    assert asked(split.test) == {"ann": (["heat", "alien"], ["brazil"])}
    assert (split.apart, split.held_items, split.test.among) == ({}, None, None)


def test_what_is_known_is_the_history_so_the_test_knows_the_validation_target():
    split = leave_last_out(typed("ann heat 1, ann alien 2, ann brazil 3"))
    assert known(split.validation) == {"ann": ["heat"]}
    assert known(split.test) == {"ann": ["heat", "alien"]}
    assert split.test.history_lengths.tolist() == [2]


def test_a_user_with_two_interactions_has_a_test_case_but_none_for_validation():
    split = leave_last_out(typed("ann heat 1, ann alien 2"))
    assert pairs(split.train) == {("ann", "heat")}
    assert (asked(split.validation), len(split.validation)) == ({}, 0)
    assert asked(split.test) == {"ann": (["heat"], ["alien"])}


def test_users_keep_their_place_in_the_training_part():
    made = typed("ann heat 1, ann alien 2, bob heat 3, bob alien 4, bob dune 5, cid dune 6")
    train = leave_last_out(made).train
    assert train.user_ids == made.user_ids
    assert train.lengths.tolist() == [1, 1, 1]
    assert len(train.times) == len(train)


def test_notes_tell_how_many_targets_are_older_than_training_and_who_is_not_asked():
    older, lone = leave_last_out(typed("ann heat 1, ann alien 2, bob heat 8, bob alien 9, cid dune 3")).notes
    assert older == (
        "50% of the test targets are older than the newest training interaction: users are split each by their own "
        "time. Choose temporal to split all at one"
    )
    assert lone == "1 user(s) have a single interaction: they count in training, and are asked about nothing"


def test_without_times_no_note_speaks_of_them():
    made = interactions_of([("ann", "heat", 1), ("ann", "alien", 0)], timed=False)
    split = leave_last_out(made)
    assert (asked(split.test), split.notes) == ({"ann": (["heat"], ["alien"])}, ())


def test_nobody_with_two_interactions_is_an_error():
    with pytest.raises(InputError, match=r"^data\.splits: each of the 2 user\(s\) has one .* give longer histories$"):
        leave_last_out(typed("ann heat 1, bob alien 2"))


def split_of(rows, **options):
    assume(any(len(items) > 1 for items in in_order(rows).values()))
    return leave_last_out(interactions_of(rows, **options))


@given(ANY)
def test_every_interaction_is_trained_on_or_a_target_and_never_two_of_these(rows):
    split = split_of(rows)
    held = targets(split.validation, split.test)
    assert len(split.train) + len(held) == len(rows)
    assert triples(split.train) | set(held) == set(rows)
    assert not pairs(split.train) & {(user, item) for user, item, _ in held}


@given(ANY)
def test_a_history_is_all_of_a_users_past_and_ends_right_before_the_target(rows):
    split = split_of(rows)
    whole = {user: names(items) for user, items in in_order(rows).items()}
    assert asked(split.test) == {u: (items[:-1], items[-1:]) for u, items in whole.items() if len(items) >= 2}
    assert asked(split.validation) == {u: (items[:-2], items[-2:-1]) for u, items in whole.items() if len(items) >= 3}


@given(ANY)
def test_what_is_known_holds_the_history_and_no_target(rows):
    split = split_of(rows)
    for cases in (split.validation, split.test):
        assert_sound(cases, rows)
        assert all(case.known == case.history for case in read(cases).values())


@given(DISTINCT)
def test_a_history_is_older_than_its_target_where_times_differ(rows):
    split = split_of(rows)
    for cases in (split.validation, split.test):
        for case in read(cases).values():
            assert max(time for _, time in case.history) < case.targets[0][1]


@given(DISTINCT, st.randoms())
def test_the_files_order_changes_nothing_where_times_differ(rows, random):
    assert all_of(split_of(rows)) == all_of(split_of(random.sample(rows, len(rows))))


@given(TIED, st.randoms())
def test_the_files_order_changes_nothing_where_ties_are_shuffled_by_hash(rows, random):
    again = random.sample(rows, len(rows))
    assert all_of(split_of(rows, ties="shuffle")) == all_of(split_of(again, ties="shuffle"))
