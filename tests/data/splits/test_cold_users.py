"""cold_users: users held out whole; k interactions of each are told, what follows is asked for."""

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from typed_tables import (
    ANY,
    DISTINCT,
    TIED,
    USERS,
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

from recall_lightning.data.splits import cold_users
from recall_lightning.data.splits.base import drawn
from recall_lightning.errors import InputError

DRAW = {"share": 0.2, "seed": 8}  # of the eight users, hal is then drawn for validation and ann for the test
ANN = "ann alien 1, ann brazil 2, ann dune 3, ann fargo 4, ann heat 5, ann tron 6"
HAL = "hal tron 11, hal heat 12, hal fargo 13"
TABLE = f"{ANN}, bob heat 7, bob dune 9, cid tron 8, {HAL}"


def test_held_users_train_nothing_and_are_told_their_first_k():
    split = cold_users(typed(TABLE), k=2, n_queries=2, **DRAW)
    assert pairs(split.train) == {("bob", "heat"), ("bob", "dune"), ("cid", "tron")}
    assert asked(split.validation) == {"hal": (["tron", "heat"], ["fargo"])}
    assert asked(split.test) == {"ann": (["alien", "brazil"], ["dune", "fargo"])}
    assert (split.apart, split.held_items, split.test.among) == ({}, None, None)


@pytest.mark.parametrize(
    ("options", "history", "queries", "no_candidates"),
    [
        ({"query": "next", "k": 0}, "", "alien brazil", ""),
        ({"query": "next", "k": 1}, "alien", "brazil dune", "alien"),
        ({"query": "next", "k": 5}, "alien brazil dune fargo heat", "tron", "alien brazil dune fargo heat"),
        ({"query": "fixed", "k": 0}, "", "fargo heat", "alien brazil dune"),
        ({"query": "fixed", "k": 1}, "alien", "fargo heat", "alien brazil dune"),
        ({"query": "fixed", "k": 1, "support": "last"}, "dune", "fargo heat", "alien brazil dune"),
        ({"query": "fixed", "k": 2, "support": "last"}, "brazil dune", "fargo heat", "alien brazil dune"),
        ({"query": "fixed", "k": 3, "support": "last"}, "alien brazil dune", "fargo heat", "alien brazil dune"),
        ({"query": "fixed", "k": 3}, "alien brazil dune", "fargo heat", "alien brazil dune"),
    ],
)
def test_the_support_and_the_query_stand_where_the_options_say(options, history, queries, no_candidates):
    whole_hal = "hal tron 11, hal heat 12, hal fargo 13, hal dune 14, hal alien 15, hal brazil 16"
    made = typed(f"{ANN}, bob heat 7, {whole_hal}")
    split = cold_users(made, n_queries=2, window_from=3, **options, **DRAW)
    assert asked(split.test) == {"ann": (history.split(), queries.split())}
    assert known(split.test) == {"ann": no_candidates.split()}


def test_a_fixed_query_is_the_same_whatever_is_told():
    made = typed(TABLE.replace("ann tron 6", "hal dune 17"))
    asked_for = [
        targets(cold_users(made, k=k, query="fixed", support=support, window_from=3, **DRAW).test)
        for k in (0, 1, 2, 3) for support in ("first", "last")
    ]  # fmt: skip
    assert asked_for == [[("ann", "fargo", 4), ("ann", "heat", 5)]] * 8


def test_a_user_without_an_interaction_behind_the_support_is_counted_and_asked_about_nothing():
    made = typed(f"{ANN}, {HAL}, bob heat 1, dee heat 1, dee alien 2, gus dune 1, cid dune 1")
    split = cold_users(made, share=0.3, seed=0, k=1)
    assert (set(asked(split.validation)), set(asked(split.test))) == ({"dee"}, {"ann", "hal"})
    assert pairs(split.train) == {("cid", "dune")}
    assert split.notes == (
        "2 users held out for validation and 3 for the test",
        "2 of them have no more than 1 interactions: they are asked about nothing",  # bob and gus
    )


def test_without_users_too_short_there_is_no_note_of_them():
    assert cold_users(typed(TABLE), k=2, **DRAW).notes == ("1 users held out for validation and 1 for the test",)


@pytest.mark.parametrize(
    ("options", "part", "at", "key"),
    [
        ({"k": 3}, "validation", 3, "k"),
        ({"k": 2, "query": "fixed", "window_from": 4}, "validation", 4, "window_from"),
    ],
)
def test_held_users_too_short_for_the_query_are_told(options, part, at, key):
    with pytest.raises(InputError) as told:
        cold_users(typed(TABLE), **options, **DRAW)
    assert str(told.value) == (
        f"data.splits: none of the 1 users held out for the {part} has more than {at} interactions. Lower "
        f"data.splits.{key}, or raise data.splits.share"
    )


def test_a_test_without_users_is_told():
    with pytest.raises(InputError, match=r"^data\.splits: none of the 0 users held out for the test has more than 2"):
        cold_users(typed(f"bob heat 7, {HAL}"), k=2, **DRAW)


def test_nobody_left_to_train_on_is_told():
    with pytest.raises(InputError) as told:
        cold_users(typed(f"{ANN}, {HAL}"), k=2, **DRAW)
    assert str(told.value) == ("data.splits: all users are held out, none is left to train on. Lower data.splits.share")


def test_users_are_drawn_by_their_id_alone():
    few, many = [str(i) for i in range(500)], [f"new {i}" for i in range(500)] + [str(i) for i in range(499, -1, -1)]
    for part, more in zip(drawn(few, 0.1, 3), drawn(many, 0.1, 3), strict=True):
        assert set(np.array(few)[part]) == {user for user in np.array(many)[more] if not user.startswith("new")}


def test_the_share_is_about_what_is_drawn_and_another_seed_draws_others():
    ids = [str(i) for i in range(20_000)]
    validation, test = drawn(ids, 0.1, 0)
    assert not (validation & test).any()
    assert 0.09 < validation.mean() < 0.11
    assert 0.09 < test.mean() < 0.11
    assert 0.005 < (test & drawn(ids, 0.1, 1)[1]).mean() < 0.015  # as two independent draws would share


def test_more_data_of_others_changes_no_case():
    more = f"new heat 1, new dune 2, {TABLE}, bob tron 3, other alien 4"
    once, again = (cold_users(typed(table), k=2, **DRAW) for table in (TABLE, more))
    assert (read(once.validation), read(once.test)) == (read(again.validation), read(again.test))


OPTIONS = st.fixed_dictionaries(
    {
        "k": st.integers(0, 2), "query": st.sampled_from(["next", "fixed"]), "n_queries": st.integers(1, 3),
        "support": st.sampled_from(["first", "last"]), "window_from": st.integers(2, 3),
        "seed": st.sampled_from([0, 4, 7, 8, 9]),  # that draw users for both parts
    }
)  # fmt: skip


def split_of(rows, options, **grouping):
    try:
        return cold_users(interactions_of(rows, **grouping), share=0.3, **options)
    except InputError:
        reject()


def drawn_users(seed):
    return [{user for user, is_in in zip(USERS, part, strict=True) if is_in} for part in drawn(USERS, 0.3, seed)]


@given(ANY, OPTIONS)
def test_training_has_every_row_of_the_other_users_and_none_of_a_held_one(rows, options):
    split = split_of(rows, options)
    validation, test = drawn_users(options["seed"])
    assert triples(split.train) == {row for row in rows if row[0] not in validation | test}
    assert set(read(split.validation)) <= validation
    assert set(read(split.test)) <= test


@given(ANY, OPTIONS)
def test_the_cases_are_those_of_slicing_each_users_history(rows, options):
    split = split_of(rows, options)
    k, at = options["k"], options["k"] if options["query"] == "next" else options["window_from"]
    first = at - k if (options["query"], options["support"]) == ("fixed", "last") else 0
    for cases, held in zip((split.validation, split.test), drawn_users(options["seed"]), strict=True):
        mine = {user: names(items) for user, items in in_order(rows).items() if user in held}
        assert asked(cases) == {
            user: (items[first : first + k], items[at : at + options["n_queries"]])
            for user, items in mine.items() if len(items) > at
        }  # fmt: skip
        assert known(cases) == {user: items[:at] for user, items in mine.items() if len(items) > at}
        assert_sound(cases, rows)


@given(DISTINCT, OPTIONS)
def test_nothing_that_is_told_or_known_comes_after_the_query_starts(rows, options):
    split = split_of(rows, options)
    for cases in (split.validation, split.test):
        for case in read(cases).values():
            assert all(time < case.targets[0][1] for _, time in case.known)


@given(ANY, OPTIONS)
def test_every_interaction_is_trained_on_known_asked_for_or_behind_the_query_or_of_a_user_too_short(rows, options):
    split = split_of(rows, options)
    validation, test = drawn_users(options["seed"])
    at = options["k"] if options["query"] == "next" else options["window_from"]
    too_short = behind = 0
    for user, items in in_order(rows).items():
        if user in validation | test:
            too_short += len(items) if len(items) <= at else 0
            behind += max(len(items) - at - options["n_queries"], 0)
    cases = [*read(split.validation).values(), *read(split.test).values()]
    n_known, n_asked = sum(len(case.known) for case in cases), sum(len(case.targets) for case in cases)
    assert len(split.train) + n_known + n_asked + behind + too_short == len(rows)


@given(DISTINCT, OPTIONS, st.randoms())
def test_the_files_order_changes_nothing_where_times_differ(rows, options, random):
    split, again = split_of(rows, options), split_of(random.sample(rows, len(rows)), options)
    assert (all_of(split), split.notes) == (all_of(again), again.notes)


@given(TIED, OPTIONS, st.randoms())
def test_the_files_order_changes_nothing_where_ties_are_shuffled_by_hash(rows, options, random):
    once = split_of(rows, options, ties="shuffle")
    assert all_of(once) == all_of(split_of(random.sample(rows, len(rows)), options, ties="shuffle"))


def test_the_same_seed_draws_the_same_users_and_another_draws_others():
    table = [(user, item, time) for user in USERS for item, time in (("heat", 1), ("alien", 2))]
    drawn_by = {seed: set(read(cold_users(interactions_of(table), share=0.3, k=1, seed=seed).test)) for seed in (0, 4)}
    assert drawn_by == {0: {"ann", "bob", "hal"}, 4: {"eve", "hal"}}
