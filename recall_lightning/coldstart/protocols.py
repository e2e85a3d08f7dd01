"""Protocols: the ways of asking held-out users about a number of support interactions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.splits import Cases, Splits
from recall_lightning.data.splits.base import drawn
from recall_lightning.errors import InputError

Query = Literal["next", "fixed"]


@dataclass(frozen=True)
class Protocol:
    """One way of asking.

    Attributes:
        query: `next`: a user's first interactions are the support, and the query follows at once. `fixed`: the query is
            one window for every number of support interactions, and those right before it are the support.
        support: how many interactions are told.
        splits: how both parts were split.
        validation: cases to choose settings by.
        asked: cases to report, those of the validation or of the test.
    """

    query: Query
    support: int
    splits: Splits
    validation: Cases
    asked: Cases


def check(splits: Splits, queries: Sequence[Query], supports: Sequence[int]) -> None:
    """Refuse a config that can't be asked so, before any data is read.

    Raises:
        InputError: naming the key or the flag.
    """
    if splits.name != "cold_users":
        raise InputError(
            f"data.splits.name is {splits.name}, but the experiment asks about users who are held out whole: set it to "
            "cold_users, and train with it, too"
        )
    if "fixed" in queries and splits.window_from < max(supports):
        raise InputError(
            f"--support {max(supports)}: the fixed query starts after {splits.window_from} interactions "
            "(data.splits.window_from), so fewer than that many stand before it. Raise that, lower this, or give "
            "--query next"
        )


def protocols(data: RecallDataModule, queries: Sequence[Query], supports: Sequence[int], part: str) -> list[Protocol]:
    """Every query with every number of support interactions; the users held out are the same ones for all.

    Args:
        data: already set up, by the split `cold_users`.
        queries: see `Protocol`.
        supports: numbers of support interactions.
        part: `validation` or `test`.

    Raises:
        InputError: if no history of a held-out user is long enough.
    """
    made = []
    for query in queries:
        for k in supports:
            splits = replace(data.splits, k=k, query=query, support="last" if query == "fixed" else "first")
            if query == "next":
                _check_histories(data, k)
            split = splits.split(data.interactions, data.catalogue.ids, data.seed)
            made.append(
                Protocol(query, k, splits, split.validation, split.test if part == "test" else split.validation)
            )
    return made


def _check_histories(data: RecallDataModule, k: int) -> None:
    held = drawn(data.interactions.user_ids, data.splits.share, data.seed)
    for part, users in zip(("validation", "test"), held, strict=True):
        longest = int(np.max(data.interactions.lengths[users], initial=0))
        if longest <= k:
            raise InputError(
                f"--support {k}: no history of the users held out for the {part} is longer, so nothing is left to ask "
                f"for; the longest has {longest} interactions. Give numbers below that"
            )
