"""Splits: the config's names and values, and which split they make."""

import pytest
from typed_tables import ITEMS, all_of, asked, typed

from recall_lightning.data.splits import Splits, cold_users, leave_last_out, new_items, temporal
from recall_lightning.errors import InputError

TABLE = """ann alien 1, ann brazil 2, ann dune 3, ann heat 10, ann tron 21, bob heat 4, bob dune 5, bob alien 6,
    bob tron 11, cid heat 7, cid dune 8, cid tron 12, cid alien 22, hal tron 9, hal heat 13, hal alien 23"""


def made(**options):
    splits = Splits(**options)
    splits.check()
    return all_of(splits.split(typed(TABLE), ITEMS, seed=8))


def test_leave_last_out_is_the_default():
    assert made() == all_of(leave_last_out(typed(TABLE)))


def test_each_name_makes_its_split_with_the_options_and_the_seed():
    whole = typed(TABLE)
    assert made(name="temporal", share=0.3) == all_of(temporal(whole, len(ITEMS), share=0.3))
    assert made(name="cold_users", share=0.2, k=2, n_queries=1) == all_of(
        cold_users(whole, share=0.2, k=2, n_queries=1, seed=8)
    )
    fixed = {"k": 1, "query": "fixed", "support": "last", "window_from": 2}
    assert made(name="cold_users", share=0.2, **fixed) == all_of(cold_users(whole, share=0.2, seed=8, **fixed))
    assert made(name="new_items", share=0.25) == all_of(new_items(whole, ITEMS, share=0.25, seed=8))


@pytest.mark.parametrize(
    "cuts",
    [
        {"validation_from": 10, "test_from": 20},
        {"validation_from": "10", "test_from": "20.0"},
        {"validation_from": "1970-01-01T00:00:10", "test_from": "1970-01-01 00:00:20Z"},
    ],
)
def test_moments_are_seconds_or_dates(cuts):
    assert made(name="temporal", **cuts) == all_of(temporal(typed(TABLE), len(ITEMS), validation_from=10, test_from=20))


def test_one_moment_may_be_given_and_the_other_follow_from_the_share():
    splits = Splits("temporal", share=0.2, validation_from=7)
    split = splits.split(typed(TABLE), ITEMS, seed=0)  # 16 times, of which the 13th is 13
    assert asked(split.test) == {"cid": (["heat", "dune", "tron"], ["alien"]), "hal": (["tron"], ["heat", "alien"])}
    assert split.notes[0] == "validation from 7, test from 13"


@pytest.mark.parametrize("share", [0, 0.5, -0.1, 1, float("nan")])
def test_a_share_that_leaves_nothing_is_told(share):
    with pytest.raises(InputError) as told:
        Splits(share=share).check()
    assert str(told.value) == (
        f"data.splits.share is {share}: it is held out twice, for validation and test, so give more than 0 and less "
        "than 0.5"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": -1}, "data.splits.k is -1: give 0 or more"),
        ({"n_queries": 0}, "data.splits.n_queries is 0: give 1 or more"),
        ({"window_from": 0}, "data.splits.window_from is 0: give 1 or more"),
        (
            {"query": "fixed", "k": 10, "window_from": 9},
            "data.splits.window_from is 9, before the end of the 10 interactions that are told (data.splits.k). Give "
            "at least as many",
        ),
        (
            {"support": "last"},
            "data.splits.support is last, which needs a window to stand before. Set data.splits.query: fixed",
        ),
        (
            {"validation_from": "31/12/2000"},
            "data.splits.validation_from is '31/12/2000', neither seconds nor ISO 8601. Write 978300760 or 2000-12-31",
        ),
        (
            {"test_from": "soon"},
            "data.splits.test_from is 'soon', neither seconds nor ISO 8601. Write 978300760 or 2000-12-31",
        ),
    ],
)
def test_a_value_that_can_not_be_meant_names_its_key(options, message):
    with pytest.raises(InputError) as told:
        Splits(**options).check()
    assert str(told.value) == message


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"k": 20, "query": "fixed", "window_from": 20}, {"support": "last", "query": "fixed"}]
)
def test_values_at_their_limits_are_taken(options):
    Splits(**options).check()


def test_a_cut_in_time_for_another_split_is_told():
    with pytest.raises(InputError, match=r"^data\.splits\.test_from is a cut in time, but .* is new_items"):
        Splits(name="new_items", test_from="2001-01-01").check()
