"""new_items: items held out whole, to be recalled by their text alone."""

import numpy as np
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
    names,
    pairs,
    read,
    rows_of,
    targets,
    triples,
    typed,
)

from recall_lightning.data.splits import new_items
from recall_lightning.data.splits.base import drawn
from recall_lightning.errors import InputError

DRAW = {"share": 0.25, "seed": 8}  # of the six items, tron is then drawn for validation and alien for the test
TABLE = """ann heat 1, ann alien 2, ann dune 3, ann tron 4, ann fargo 5,
    bob tron 1, bob heat 2, bob alien 3, cid dune 1, cid fargo 2"""


def split_typed(text):
    return new_items(typed(text), ITEMS, **DRAW)


def among(cases):
    return {item for item, is_new in zip(ITEMS, cases.among, strict=True) if is_new}


def test_held_items_train_nothing_and_are_asked_of_who_took_something_known_before():
    split = split_typed(TABLE)
    assert pairs(split.train) == {
        ("ann", "heat"), ("ann", "dune"), ("ann", "fargo"), ("bob", "heat"), ("cid", "dune"), ("cid", "fargo"),
    }  # fmt: skip
    assert asked(split.validation) == {"ann": (["heat", "dune"], ["tron"])}
    assert asked(split.test) == {"ann": (["heat"], ["alien"]), "bob": (["heat"], ["alien"])}
    assert split.apart == {}


def test_items_are_ranked_among_those_of_their_part_alone_too_and_both_parts_are_held():
    split = split_typed(TABLE)
    assert (among(split.validation), among(split.test)) == ({"tron"}, {"alien"})
    assert {item for item, is_held in zip(ITEMS, split.held_items, strict=True) if is_held} == {"tron", "alien"}


def test_whatever_else_the_user_took_is_no_candidate_be_it_later_or_held_out_too():
    split = split_typed(TABLE)
    assert known(split.validation) == {"ann": ["heat", "dune", "fargo", "alien"]}
    assert known(split.test) == {"ann": ["heat", "dune", "fargo", "tron"], "bob": ["heat", "tron"]}


def test_the_newest_of_several_new_items_is_the_target_and_the_others_are_not_told():
    ids = [*ITEMS, "solaris", "psycho"]
    validation, test = (np.array(ids)[part].tolist() for part in drawn(ids, **DRAW))
    assert (validation, test) == (["tron"], ["alien", "solaris"])
    rows = rows_of("ann heat 1, ann alien 2, ann dune 3, ann solaris 4, ann tron 5, ann psycho 6")
    cases = new_items(interactions_of(rows, ids=ids), ids, **DRAW).test
    items = [[ids[i] for i in cases.interactions.items[slice(*span[0])]] for span in (cases.history, cases.targets)]
    assert items == [["heat", "dune"], ["solaris"]]


def test_notes_tell_the_items_held_and_the_cases_without_a_past():
    assert split_typed(TABLE).notes == (
        "1 items held out for validation and 1 for the test",
        "1 case(s) left out: the user took nothing that training knows before the new item",  # bob's tron
    )
    assert len(split_typed("ann heat 1, ann alien 2, ann tron 4").notes) == 1


@pytest.mark.parametrize(
    ("table", "part", "n_held"),
    [
        ("ann heat 1, ann alien 2", "validation", 1),
        ("ann tron 1, ann heat 2, bob alien 3", "validation", 1),
        ("ann alien 1, ann heat 2, ann tron 3", "test", 1),
        ("ann alien 1, ann tron 2", "validation", 1),
    ],
)
def test_a_part_without_any_case_is_told(table, part, n_held):
    with pytest.raises(InputError) as told:
        split_typed(table)
    assert str(told.value) == (
        f"data.splits: no user took one of the {n_held} items held out for the {part} after another item. Raise "
        "data.splits.share"
    )


def test_more_items_and_other_users_keep_the_same_items_held():
    more = ["new", *reversed(ITEMS), "newer"]
    once = split_typed(TABLE)
    again = new_items(interactions_of([("zed", "new", 1), *rows_of(TABLE)], ids=more), more, **DRAW)
    held = [{i for i, h in zip(ids, s.held_items, strict=True) if h} for ids, s in ((ITEMS, once), (more, again))]
    assert held[1] & set(ITEMS) == held[0] == {"alien", "tron"}


SEEDS = st.sampled_from([4, 7, 8, 9, 11])  # some draw items for both parts with a share of .2, some of .3
SHARES = st.sampled_from([0.2, 0.3])


def split_of(rows, seed, share, **grouping):
    try:
        return new_items(interactions_of(rows, **grouping), ITEMS, share=share, seed=seed)
    except InputError:
        reject()


def drawn_items(seed, share):
    return [{item for item, is_in in zip(ITEMS, part, strict=True) if is_in} for part in drawn(ITEMS, share, seed)]


@given(ANY, SEEDS, SHARES)
def test_training_has_every_row_of_the_other_items_and_none_of_a_held_one(rows, seed, share):
    split = split_of(rows, seed, share)
    validation, test = drawn_items(seed, share)
    assert triples(split.train) == {row for row in rows if row[1] not in validation | test}
    assert {item for item, is_held in zip(ITEMS, split.held_items, strict=True) if is_held} == validation | test


@given(ANY, SEEDS, SHARES)
def test_the_cases_are_those_of_looking_back_from_each_users_newest_new_item(rows, seed, share):
    split = split_of(rows, seed, share)
    validation, test = drawn_items(seed, share)
    for cases, new in ((split.validation, validation), (split.test, test)):
        expected, others = {}, {}
        for user, mine in in_order(rows).items():
            places = [place for place, (item, _) in enumerate(mine) if item in new]
            told = [item for item in names(mine)[: max(places, default=0)] if item not in validation | test]
            if told:
                expected[user] = (told, [mine[places[-1]][0]])
                others[user] = set(names(mine)) - {mine[places[-1]][0]}
        assert asked(cases) == expected
        assert {user: set(items) for user, items in known(cases).items()} == others
        assert among(cases) == new
        assert_sound(cases, rows)


@given(DISTINCT, SEEDS, SHARES)
def test_a_history_has_nothing_after_the_target_and_no_held_item(rows, seed, share):
    split = split_of(rows, seed, share)
    held = set().union(*drawn_items(seed, share))
    for cases in (split.validation, split.test):
        for case in read(cases).values():
            assert max(time for _, time in case.history) < case.targets[0][1]
            assert not set(names(case.history)) & held


@given(ANY, SEEDS, SHARES)
def test_every_interaction_is_trained_on_asked_for_or_one_of_a_held_item_that_is_older_or_without_a_past(
    rows, seed, share
):
    split = split_of(rows, seed, share)
    validation, test = drawn_items(seed, share)
    older = without_past = 0
    for mine in in_order(rows).values():
        for new in (validation, test):
            places = [place for place, (item, _) in enumerate(mine) if item in new]
            older += max(len(places) - 1, 0)
            without_past += bool(places) and not set(names(mine[: places[-1]])) - validation - test
    asked_for = targets(split.validation, split.test)
    assert len(split.train) + len(asked_for) + older + without_past == len(rows)
    assert not triples(split.train) & set(asked_for)
    told = [note for note in split.notes if "left out" in note]
    assert [int(note.split()[0]) for note in told] == ([without_past] if without_past else [])


@given(DISTINCT, SEEDS, SHARES, st.randoms())
def test_the_files_order_changes_nothing_where_times_differ(rows, seed, share, random):
    split, again = (split_of(r, seed, share) for r in (rows, random.sample(rows, len(rows))))
    assert (all_of(split), split.notes) == (all_of(again), again.notes)


@given(TIED, SEEDS, SHARES, st.randoms())
def test_the_files_order_changes_nothing_where_ties_are_shuffled_by_hash(rows, seed, share, random):
    once, again = (split_of(r, seed, share, ties="shuffle") for r in (rows, random.sample(rows, len(rows))))
    assert all_of(once) == all_of(again)


def test_the_same_seed_draws_the_same_items_and_another_draws_others():
    ids = [str(i) for i in range(2000)]
    assert np.array_equal(drawn(ids, 0.1, 0)[1], drawn(ids, 0.1, 0)[1])
    assert drawn_items(8, 0.25) == [{"tron"}, {"alien"}]
    assert drawn_items(9, 0.25) == [{"dune"}, {"heat"}]
