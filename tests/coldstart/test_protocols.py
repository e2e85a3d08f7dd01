"""Protocols: which of a held-out user's interactions are told, and which are asked for."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from recall_lightning.coldstart.protocols import check, protocols
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.splits import Splits
from recall_lightning.data.splits.base import drawn
from recall_lightning.errors import InputError

LETTERS = "abcdefgh"


def data(length=7, **options):
    """Twelve users, each of whom took a, b, c, ... in this order; some are held out."""
    splits = Splits(name="cold_users", share=0.3, **({"n_queries": 2, "window_from": 4} | options))
    users = [f"u{n}" for n in range(12)]
    offsets = np.arange(len(users) + 1) * length
    interactions = Interactions(users, np.tile(np.arange(length), len(users)), None, offsets)
    return SimpleNamespace(
        splits=splits, interactions=interactions, catalogue=SimpleNamespace(ids=list(LETTERS)), seed=0
    )


def letters(cases, span):
    start, stop = span[0]
    return "".join(LETTERS[item] for item in cases.interactions.items[start:stop])


@pytest.mark.parametrize(
    ("query", "told", "asked", "known"), [("next", "ab", "cd", "ab"), ("fixed", "cd", "ef", "abcd")]
)
def test_with_two_interactions_the_first_or_those_right_before_the_window_are_told(query, told, asked, known):
    (protocol,) = protocols(data(), [query], [2], "test")
    for cases in (protocol.validation, protocol.asked):
        assert letters(cases, cases.history) == told
        assert letters(cases, cases.targets) == asked
        assert letters(cases, cases.known) == known


def test_a_fixed_query_is_the_same_window_of_the_same_users_for_every_number():
    one, three = protocols(data(), ["fixed"], [1, 3], "test")
    assert one.asked.users.tolist() == three.asked.users.tolist()
    assert one.asked.targets.tolist() == three.asked.targets.tolist()
    assert one.asked.known.tolist() == three.asked.known.tolist()
    assert letters(three.asked, three.asked.history) == "bcd"


def test_the_part_is_what_is_asked_about_and_settings_are_chosen_by_validation_in_any_case():
    (of_test,), (of_validation,) = (protocols(data(), ["next"], [1], part) for part in ("test", "validation"))
    validation, test = drawn([f"u{n}" for n in range(12)], 0.3, 0)
    assert of_test.asked.users.tolist() == np.flatnonzero(test).tolist()
    assert of_test.validation.users.tolist() == np.flatnonzero(validation).tolist()
    assert of_validation.asked.users.tolist() == of_validation.validation.users.tolist()


def test_a_number_that_no_history_is_longer_than_is_named_with_the_longest():
    with pytest.raises(InputError, match=r"--support 7: no history of the users held out for the validation is longer"):
        protocols(data(), ["next"], [1, 7], "test")
    with pytest.raises(InputError, match=r"the longest has 7 interactions"):
        protocols(data(), ["next"], [1, 7], "test")


def test_a_window_that_starts_too_early_is_told_before_data_is_read():
    with pytest.raises(InputError, match=re.escape("--support 5: the fixed query starts after 4 interactions")):
        check(data().splits, ["next", "fixed"], [1, 5])
    check(data().splits, ["next"], [1, 5])
    check(data().splits, ["fixed"], [4])


def test_only_users_held_out_whole_can_be_asked_about():
    with pytest.raises(InputError, match=r"data\.splits\.name is temporal.*set it to cold_users"):
        check(Splits(name="temporal"), ["next"], [1])
