"""temporal: one moment for all; training knows nothing of what comes at it or after it."""

from importlib import import_module

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from typed_tables import (
    ANY,
    DISTINCT,
    ITEMS,
    TIED,
    all_of,
    asked,
    assert_sound,
    in_order,
    interactions_of,
    known,
    pairs,
    read,
    targets,
    triples,
    typed,
)

from recall_lightning.data.splits import temporal
from recall_lightning.errors import InputError

TABLE = """ann heat 1, bob heat 2, ann alien 3, bob alien 4, cid dune 5, ann brazil 6,
    ann dune 10, bob brazil 11, bob dune 12, dee heat 13, bob tron 14,
    ann tron 20, bob fargo 21, cid heat 22, dee alien 23, eve alien 24, eve fargo 25"""


def held(split):
    return {item for item, is_held in zip(ITEMS, split.held_items, strict=True) if is_held}


def cut(text, **options):
    return temporal(typed(text), len(ITEMS), **options)


def test_training_ends_where_the_validation_starts_and_this_where_the_test_starts():
    split = cut(TABLE, validation_from=10, test_from=20)
    assert pairs(split.train) == {
        ("ann", "heat"), ("ann", "alien"), ("ann", "brazil"), ("bob", "heat"), ("bob", "alien"), ("cid", "dune"),
    }  # fmt: skip
    assert asked(split.validation) == {
        "ann": (["heat", "alien", "brazil"], ["dune"]), "bob": (["heat", "alien"], ["brazil", "dune"]),
    }  # fmt: skip
    assert asked(split.test) == {"cid": (["dune"], ["heat"]), "dee": (["heat"], ["alien"])}


def test_apart_are_users_without_a_past_and_items_that_training_has_never_seen():
    split = cut(TABLE, validation_from=10, test_from=20)
    assert {name: asked(cases) for name, cases in split.apart.items()} == {
        "new users": {"eve": ([], ["alien"])},
        "new items": {
            "ann": (["heat", "alien", "brazil", "dune"], ["tron"]),
            "bob": (["heat", "alien", "brazil", "dune", "tron"], ["fargo"]),
        },
    }
    assert held(split) == {"tron", "fargo"}
    assert split.apart["new items"].among.tolist() == split.held_items.tolist()
    assert (split.test.among, split.apart["new users"].among) == (None, None)


def test_nothing_is_apart_where_nobody_and_no_item_is_new():
    split = cut("ann heat 1, bob alien 2, ann alien 5, bob heat 7", validation_from=5, test_from=6)
    assert (split.apart, asked(split.test)) == ({}, {"bob": (["alien"], ["heat"])})


def test_no_candidates_are_the_history_and_what_else_the_user_takes_in_the_part():
    split = cut(TABLE, validation_from=10, test_from=20)
    assert known(split.validation) == {"ann": ["heat", "alien", "brazil"], "bob": ["heat", "alien", "tron"]}
    assert known(split.test) == {"cid": ["dune"], "dee": ["heat"]}
    assert known(split.apart["new users"]) == {"eve": ["fargo"]}
    assert known(split.apart["new items"])["ann"] == ["heat", "alien", "brazil", "dune"]


def test_what_happens_at_the_moment_of_a_cut_comes_after_it():
    split = cut("ann heat 1, ann alien 2, bob alien 1, bob heat 3, ann dune 0", validation_from=2, test_from=3)
    assert asked(split.validation) == {"ann": (["dune", "heat"], ["alien"])}
    assert asked(split.test) == {"bob": (["alien"], ["heat"])}


def test_without_moments_the_newest_share_is_the_test_and_as_much_the_validation():
    split = cut(
        """ann heat 0, ann alien 1, bob heat 2, bob dune 3, cid dune 4, cid alien 5,
        ann dune 6, bob alien 7, cid heat 8, ann tron 9""", share=0.2,
    )  # fmt: skip
    assert {time for _, _, time in triples(split.train)} == {0, 1, 2, 3, 4, 5}
    assert targets(split.validation) == [("ann", "dune", 6), ("bob", "alien", 7)]
    assert targets(split.test, split.apart["new items"]) == [("cid", "heat", 8), ("ann", "tron", 9)]


@pytest.mark.parametrize("at_once", [1, 2**16])
def test_notes_tell_the_moments_and_who_and_what_is_apart(monkeypatch, at_once):
    module = import_module("recall_lightning.data.splits.temporal")  # whose package has a function of this name
    monkeypatch.setattr(module, "_CASES_AT_ONCE", at_once)
    assert cut(TABLE, validation_from=10, test_from=20).notes == (
        "validation from 10, test from 20",
        "1 user(s) appear after the test's cut: apart as 'new users'",
        "2 item(s) were never trained on and are taken after the test's cut: apart as 'new items'",
    )


def test_an_item_that_only_new_users_take_is_not_counted_as_apart():
    text = "ann heat 1, bob heat 1, bob alien 2, ann alien 5, bob dune 8, cid tron 9, cid heat 9, ann fargo 3"
    split = cut(text + ", ann dune 4, bob fargo 8", validation_from=4, test_from=8)
    assert split.notes[-1].startswith("1 item(s) were never trained on")  # dune; tron is cid's, who has no past


def test_an_item_that_nobody_ever_takes_is_held_like_one_that_somebody_will():
    """Else the negatives of training would tell which of the untrained items the future holds."""
    text = "ann heat 1, bob alien 2, ann alien 5, bob heat 7"
    assert held(cut(text, validation_from=5, test_from=6)) == set(ITEMS) - {"heat", "alien"}
    assert held(cut(text + ", ann tron 8", validation_from=5, test_from=6)) == set(ITEMS) - {"heat", "alien"}


def test_interactions_without_times_can_not_be_cut():
    rows = [("ann", "heat", 0), ("ann", "alien", 0)]
    with pytest.raises(InputError) as told:
        temporal(interactions_of(rows, timed=False), len(ITEMS))
    assert str(told.value) == (
        "data.splits.name is temporal, but the interactions have no times. Add a column timestamp, or choose "
        "leave_last_out, which takes row order"
    )


@pytest.mark.parametrize(
    "options", [{"validation_from": 20, "test_from": 10}, {"validation_from": 10, "test_from": 10}]
)
def test_a_test_that_does_not_start_after_the_validation_is_told(options):
    with pytest.raises(InputError) as told:
        cut(TABLE, **options)
    assert str(told.value) == (
        f"data.splits: the validation starts at {options['validation_from']} and the test at 10, so nothing lies "
        "between. Give data.splits.validation_from and test_from, or another share"
    )


def test_cuts_are_told_as_dates_where_they_can_be_dates():
    with pytest.raises(
        InputError, match="validation starts at 2000-12-31 22:12:40 and the test at 2000-01-01 00:00:00"
    ):
        cut(TABLE, validation_from=978300760, test_from=946684800)


def test_all_at_one_time_can_not_be_cut():
    with pytest.raises(
        InputError, match=r"^data\.splits: the validation starts at 7 and the test at 7, so nothing lies"
    ):
        cut("ann heat 7, ann alien 7, bob heat 7")


@pytest.mark.parametrize(
    ("cuts", "part"), [((0, 20), "training"), ((2, 3), "validation"), ((10, 99), "test"), ((5, 6), "validation")]
)
def test_a_part_without_any_case_is_told(cuts, part):
    with pytest.raises(InputError) as told:
        cut(TABLE, validation_from=cuts[0], test_from=cuts[1])
    assert str(told.value) == (
        f"data.splits: no {part} case with the cuts {cuts[0]} and {cuts[1]}. temporal needs users on both sides of a "
        "cut: move it, or choose leave_last_out"
    )


def split_of(rows, cuts, **options):
    try:
        return temporal(
            interactions_of(rows, **options), len(ITEMS), validation_from=min(cuts), test_from=max(cuts) + 1
        )  # fmt: skip
    except InputError:
        reject()


def slow(rows, first, second):
    """The parts, by going through the rows one by one: {part: {user: (history, targets)}}."""
    seen = {item for _, item, time in rows if time < first}
    parts = {"validation": {}, "test": {}, "new users": {}, "new items": {}}
    for user, mine in in_order(rows).items():
        before, until = ([i for i, t in mine if t < cut] for cut in (first, second))
        between = [i for i, t in mine if first <= t < second and i in seen]
        after, new = ([i for i, t in mine if t >= second and (i in seen) is is_seen] for is_seen in (True, False))
        if before and between:
            parts["validation"][user] = (before, between)
        if after:
            parts["test" if until else "new users"][user] = (until, after)
        if new and until:
            parts["new items"][user] = (until, new)
    return {name: cases for name, cases in parts.items() if cases}


TIMES = st.tuples(st.integers(1, 4), st.integers(1, 4))
LATER = st.tuples(st.integers(3, 20), st.integers(3, 20))


@given(st.tuples(TIED, TIMES) | st.tuples(DISTINCT, LATER))
def test_the_parts_are_those_of_going_through_the_rows_one_by_one(drawn):
    rows, cuts = drawn
    split = split_of(rows, cuts)
    parts = {"validation": split.validation, "test": split.test, **split.apart}
    assert {name: asked(cases) for name, cases in parts.items()} == slow(rows, min(cuts), max(cuts) + 1)


@given(ANY, LATER | TIMES)
def test_training_is_all_before_the_first_cut_and_has_no_row_of_a_held_item_nor_any_target(rows, cuts):
    split = split_of(rows, cuts)
    trained = triples(split.train)
    assert trained == {row for row in rows if row[2] < min(cuts)}
    assert not {item for _, item, _ in trained} & held(split)
    asked_for = targets(split.validation, split.test, *split.apart.values())
    assert not pairs(split.train) & {(user, item) for user, item, _ in asked_for}


@given(ANY, LATER | TIMES)
def test_a_history_ends_before_its_cut_and_targets_start_at_it(rows, cuts):
    split = split_of(rows, cuts)
    first, second = min(cuts), max(cuts) + 1
    for cases, start, stop in [
        (split.validation, first, second), *((cases, second, 99) for cases in (split.test, *split.apart.values()))
    ]:  # fmt: skip
        assert_sound(cases, rows)
        for case in read(cases).values():
            assert all(time < start for _, time in case.history)
            assert all(start <= time < stop for _, time in [*case.targets, *case.known[len(case.history) :]])


@given(ANY, LATER | TIMES)
def test_every_interaction_is_trained_on_or_asked_for_or_of_a_user_or_item_that_nothing_is_known_of(rows, cuts):
    split = split_of(rows, cuts)
    first, second = min(cuts), max(cuts) + 1
    had_past = {cut: {user for user, _, time in rows if time < cut} for cut in (first, second)}
    seen = {item for _, item, time in rows if time < first}
    asked_for_nowhere = [
        (user, item, time) for user, item, time in rows
        if (first <= time < second and not (user in had_past[first] and item in seen))
        or (time >= second and user not in had_past[second] and item not in seen)
    ]  # fmt: skip
    asked_for = targets(split.validation, split.test, *split.apart.values())
    assert sorted([*triples(split.train), *asked_for, *asked_for_nowhere]) == sorted(rows)


@given(DISTINCT, LATER, st.randoms())
def test_the_files_order_changes_nothing_where_times_differ(rows, cuts, random):
    split = split_of(rows, cuts)
    assert all_of(split) == all_of(split_of(random.sample(rows, len(rows)), cuts))
    assert split.notes == split_of(random.sample(rows, len(rows)), cuts).notes


def test_a_share_of_next_to_nothing_is_told_as_a_part_without_cases():
    with pytest.raises(InputError, match=r"^data\.splits: "):
        cut(TABLE, share=1e-20)
