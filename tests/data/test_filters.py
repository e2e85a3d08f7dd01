"""Filters: each leaves out what it says, in a fixed order, and tells how many interactions that were."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.filters import Filters, core
from recall_lightning.data.grouping import group_by_user
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.errors import InputError

ITEMS = ["alien", "brazil", "dune", "heat", "tron"]
TABLE = """ann heat 10 5, ann alien 20 2, bob heat 30 4, bob alien 40 5, bob dune 50 5, cid heat 60 1, cid alien 70 4,
    ann heat 80 3"""


def typed(text):
    """`"ann heat 10 5"`: user, item, time, weight."""
    return [(u, i, int(time), float(weight)) for u, i, time, weight in (row.split() for row in text.split(","))]


def log_of(rows, *, timed=True, weighted=True):
    user_ids, item_ids = (list(dict.fromkeys(row[at] for row in rows)) for at in (0, 1))
    return InteractionLog(
        "ratings.csv", user_ids, item_ids,
        np.array([user_ids.index(row[0]) for row in rows], np.int64),
        np.array([item_ids.index(row[1]) for row in rows], np.int64),
        np.array([row[2] for row in rows]) if timed else None,
        np.array([row[3] for row in rows]) if weighted else None,
    )  # fmt: skip


def catalogue(ids=ITEMS):
    return Catalogue(list(ids), [f"text of {i}" for i in ids], [i.title() for i in ids], "{title}")


def rows_of(log):
    """What is left, as typed."""
    columns = (log.users, log.items, log.times, log.weights)
    return [(log.user_ids[u], log.item_ids[i], t, w) for u, i, t, w in zip(*columns, strict=True)]


def left(table=TABLE, items=ITEMS, **options):
    """The times of the rows left, which are all different, and the counts."""
    log, _, counts = Filters(**options).apply(log_of(typed(table)), catalogue(items))
    assert set(rows_of(log)) <= set(typed(table))
    return [time for _, _, time, _ in rows_of(log)], counts


def test_without_a_filter_all_is_left():
    log, items = log_of(typed(TABLE)), catalogue()
    kept, same, counts = Filters().apply(log, items)
    assert (kept, same, counts) == (log, items, {})


def test_interactions_of_less_weight_are_left_out_and_those_of_just_that_count():
    assert left(min_weight=4) == ([10, 30, 40, 50, 70], {"weight below 4": 3})
    assert left(min_weight=1.5)[1] == {"weight below 1.5": 1}


def test_since_takes_its_moment_in_and_until_leaves_it_out():
    assert left(since=30) == ([30, 40, 50, 60, 70, 80], {"before 30": 2})
    assert left(until=30) == ([10, 20], {"not before 30": 6})
    assert left(since=20, until=50) == ([20, 30, 40], {"before 20": 1, "not before 50": 4})


def test_moments_may_be_dates():
    assert left(since="1970-01-01T00:01:10") == ([70, 80], {"before 1970-01-01T00:01:10": 6})
    assert left(until="20.5")[0] == [10, 20]


def test_items_without_text_are_left_out_if_asked_for():
    assert left(items=["heat", "dune"], missing_text="drop") == (
        [10, 30, 50, 60, 80],
        {"without text for their item (1 items)": 3},
    )
    assert left(items=["heat", "dune"])[1] == {}  # an error where rows of the catalogue are looked up


def test_the_core_counts_different_items_and_different_users():
    assert left(min_interactions=3) == ([30, 40, 50], {"outside the core of 3 items a user, 1 users an item": 5})
    assert left(min_users=3) == (
        [10, 20, 30, 40, 60, 70, 80], {"outside the core of 1 items a user, 3 users an item": 1}
    )  # fmt: skip


def test_the_core_is_taken_in_turns_until_all_have_enough():
    table = "ann heat 1 1, ann alien 2 1, bob heat 3 1, bob alien 4 1, cid heat 5 1, cid dune 6 1, dee dune 7 1"
    # dee has one item; then dune has one user; then cid has one item
    assert left(table, min_interactions=2, min_users=2)[0] == [1, 2, 3, 4]


def test_filters_before_the_core_change_what_it_counts():
    assert left(min_interactions=2)[0] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert left(min_interactions=2, min_weight=3) == (
        [30, 40, 50], {"weight below 3": 2, "outside the core of 2 items a user, 1 users an item": 3}
    )  # fmt: skip


def test_a_repeat_that_was_left_out_before_stays_out_of_the_core():
    log = log_of(typed("ann heat 1 1, ann heat 2 5"))
    assert core(log, np.array([False, True]), 1, 1).tolist() == [False, True]


@pytest.mark.parametrize(("repeats", "history"), [("first", ["heat", "alien"]), ("last", ["alien", "heat"])])
def test_the_first_or_the_last_of_a_users_interactions_with_an_item_counts(repeats, history):
    log, items, counts = Filters(repeats=repeats).apply(log_of(typed(TABLE)), catalogue())
    made = group_by_user(log, items.ids, ties="row", repeats=repeats)
    ann = made.user_ids.index("ann")
    assert ([items.ids[i] for i in made.history(ann)], counts) == (history, {})
    assert made.times[made.offsets[ann] : made.offsets[ann + 1]].tolist() == sorted(
        [20, 10 if repeats == "first" else 80]
    )


def test_the_catalogue_keeps_what_is_described_or_what_is_still_met_in_its_own_order():
    log = log_of(typed(TABLE))
    assert Filters(min_weight=5).apply(log, catalogue())[1] == catalogue()
    met = Filters(min_weight=5, catalogue_items="interacted").apply(log, catalogue())[1]
    assert met == catalogue(["alien", "dune", "heat"])
    assert [met.row(item) for item in ITEMS] == [0, -1, 1, 2, -1]


def test_an_item_that_is_met_but_has_no_text_stays_an_error_with_a_catalogue_of_met_ones():
    log, items, _ = Filters(catalogue_items="interacted").apply(log_of(typed(TABLE)), catalogue(["heat"]))
    with pytest.raises(InputError, match=r"ratings\.csv: no text for 2 item\(s\): 'alien', 'dune'"):
        group_by_user(log, items.ids, ties="row")


def test_a_filter_of_what_the_log_does_not_have_is_told():
    for options, message in [
        ({"min_weight": 3}, "data.min_weight: ratings.csv has no weights. Add a column, or drop the key"),
        ({"since": 3}, "data.since: ratings.csv has no times. Add a column, or drop the key"),
        ({"until": 3}, "data.until: ratings.csv has no times. Add a column, or drop the key"),
    ]:
        with pytest.raises(InputError) as told:
            Filters(**options).apply(log_of(typed(TABLE), timed=False, weighted=False), catalogue())
        assert str(told.value) == message


def test_filters_that_leave_nothing_tell_what_each_took():
    with pytest.raises(InputError) as told:
        left(min_weight=5, since=50, min_users=2)
    assert str(told.value) == (
        "ratings.csv: no user is left of 3 after filtering (5 weight below 5; 2 before 50; 1 outside the core of 1 "
        "items a user, 2 users an item). Lower data.min_weight, min_interactions or min_users, move since or until, or "
        "see to the items' texts"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_interactions": 0}, "data.min_interactions is 0: give 1 or more"),
        ({"min_users": -1}, "data.min_users is -1: give 1 or more"),
        (
            {"since": "1/2/2000"},
            "data.since is '1/2/2000', neither seconds nor ISO 8601. Write 978300760 or 2000-12-31",
        ),
        ({"until": "soon"}, "data.until is 'soon', neither seconds nor ISO 8601. Write 978300760 or 2000-12-31"),
    ],
)
def test_a_value_that_can_not_be_meant_names_its_key(options, message):
    with pytest.raises(InputError) as told:
        Filters(**options).check()
    assert str(told.value) == message


def test_the_defaults_are_taken_and_filter_nothing():
    Filters().check()
    assert [f.name for f in fields(Filters)] == [
        "min_weight", "since", "until", "missing_text", "repeats", "min_interactions", "min_users", "catalogue_items"
    ]  # fmt: skip


ROWS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(ITEMS), st.integers(0, 9), st.integers(1, 5)),
    min_size=1, max_size=30,
)  # fmt: skip
AT_LEAST = st.integers(1, 4)


@given(ROWS, st.data(), AT_LEAST, AT_LEAST)
def test_the_core_is_that_of_taking_out_one_user_or_item_at_a_time(rows, data, min_items, min_users):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    found = core(log_of(rows), keep, min_items, min_users)
    counted = {row[:2] for row, is_kept in zip(rows, keep, strict=True) if is_kept}
    inside = slow_core(counted, min_items, min_users)
    assert found.tolist() == [k and row[:2] in inside for row, k in zip(rows, keep.tolist(), strict=True)]


def slow_core(pairs, min_items, min_users):
    """Pairs (user, item), each once."""
    for user, item in sorted(pairs):
        if sum(u == user for u, _ in pairs) < min_items:
            return slow_core({pair for pair in pairs if pair[0] != user}, min_items, min_users)
        if sum(i == item for _, i in pairs) < min_users:
            return slow_core({pair for pair in pairs if pair[1] != item}, min_items, min_users)
    return pairs


@given(ROWS, AT_LEAST, AT_LEAST)
def test_the_core_of_a_core_is_the_core(rows, min_items, min_users):
    log = log_of(rows)
    once = core(log, np.ones(len(rows), bool), min_items, min_users)
    assert core(log.select(once), np.ones(once.sum(), bool), min_items, min_users).all()
    assert np.array_equal(core(log, once, min_items, min_users), once)


FILTERS = st.fixed_dictionaries(
    {
        "min_weight": st.none() | st.integers(1, 5), "since": st.none() | st.integers(0, 9),
        "until": st.none() | st.integers(0, 9), "missing_text": st.sampled_from(["error", "drop"]),
        "min_interactions": AT_LEAST, "min_users": AT_LEAST,
    }
)  # fmt: skip
NONE = {
    "min_weight": None,
    "since": None,
    "until": None,
    "missing_text": "error",
    "min_interactions": 1,
    "min_users": 1,
}


@given(ROWS, FILTERS)
@example([("a", "tron", 0, 1), ("a", "alien", 5, 5)], NONE | {"missing_text": "drop", "since": 1, "min_weight": 2})
def test_what_each_filter_took_adds_up_to_what_is_gone_and_all_that_is_left_passes(rows, options):
    described = ITEMS[:-1]
    try:
        log, _, counts = Filters(**options).apply(log_of(rows), catalogue(described))
    except InputError as error:
        assert "no user is left" in str(error)  # noqa: PT017  # an outcome as good as any of random filters
        return
    assert len(log) + sum(counts.values()) == len(rows)
    assert min(counts.values(), default=1) >= 1
    passing = [
        row for row in rows
        if row[3] >= (options["min_weight"] or 0) and row[2] >= (options["since"] or 0)
        and row[2] < (10 if options["until"] is None else options["until"])
        and (row[1] in described or options["missing_text"] == "error")
    ]  # fmt: skip
    inside = slow_core({row[:2] for row in passing}, options["min_interactions"], options["min_users"])
    assert rows_of(log) == [row for row in passing if row[:2] in inside]
