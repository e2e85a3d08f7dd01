"""temporal: a cut in time that is the same for all users."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Block, Interactions
from recall_lightning.data.moments import readable
from recall_lightning.data.order_statistic import nth_smallest
from recall_lightning.data.ragged import Ints, spans
from recall_lightning.data.splits.base import Cases, Split, regrouped, stacked
from recall_lightning.errors import InputError

_HISTORY, _ASIDE, _ASKED = range(3)  # the order in which a case's rows stand
_CASES_AT_ONCE = 2**16


def temporal(
    interactions: Interactions,
    n_items: int,
    *,
    share: float = 0.1,
    validation_from: float | None = None,
    test_from: float | None = None,
) -> Split:
    """Train on what happened before a moment, validate on what came until the next, test on all that came after.

    A case is a user with a history before the cut; the targets are the items that they took in the part and that
    training knows (what else they took in it is no candidate). Items that it doesn't know are no negatives, either,
    those that nobody takes later included: else the negatives would tell which of them somebody will. Apart, and of the
    test alone: `new users`, whose first interaction comes after the cut (they have no history), and `new items`, the
    targets that training has never seen (of users with a history).

    Args:
        interactions: with times.
        n_items: of the catalogue.
        share: of the interactions that are the test, and again that are the validation, where no moment is given.
        validation_from, test_from: the moments, in the times' seconds; what happens at the moment comes after it.

    Raises:
        InputError: if there are no times, or a part has no case.
    """
    times = interactions.times
    if times is None:
        raise InputError(
            "data.splits.name is temporal, but the interactions have no times. Add a column timestamp, or choose "
            "leave_last_out, which takes row order"
        )
    n = len(times)
    first = nth_smallest(times, min(int(n * (1 - 2 * share)), n - 1)) if validation_from is None else validation_from
    second = nth_smallest(times, min(int(n * (1 - share)), n - 1)) if test_from is None else test_from
    if not first < second:
        raise InputError(
            f"data.splits: the validation starts at {readable(first)} and the test at {readable(second)}, so nothing "
            "lies between. Give data.splits.validation_from and test_from, or another share"
        )
    train = interactions.taken(lambda block: np.flatnonzero(_times(block) < first))
    trained = train.item_counts(n_items) > 0

    test, apart = _part(interactions, second, None, trained)
    new_items, _ = _part(interactions, second, None, ~trained)
    validation, _ = _part(interactions, first, second, trained)
    for name, n_cases in [("training", len(train)), ("validation", len(validation)), ("test", len(test))]:
        if not n_cases:
            raise InputError(
                f"data.splits: no {name} case with the cuts {readable(first)} and {readable(second)}. temporal needs "
                "users on both sides of a cut: move it, or choose leave_last_out"
            )
    notes = [f"validation from {readable(first)}, test from {readable(second)}"]
    if len(apart):
        notes.append(f"{len(apart)} user(s) appear after the test's cut: apart as 'new users'")
    if len(new_items):
        n_new = _n_targets(new_items, n_items)
        notes.append(f"{n_new} item(s) were never trained on and are taken after the test's cut: apart as 'new items'")
    kept = {name: cases for name, cases in [("new users", apart), ("new items", new_items)] if len(cases)}
    if "new items" in kept:
        kept["new items"] = replace(new_items, among=~trained)
    return Split(train, validation, test, kept, ~trained, tuple(notes))


def _part(
    interactions: Interactions, start: float, stop: float | None, may_ask: NDArray[np.bool_]
) -> tuple[Cases, Cases]:
    """Cases of a stretch of time, of users with a history before it, and of those without.

    Args:
        interactions: all of them.
        start, stop: the stretch, None for no end.
        may_ask: `(items,)` whether an item is asked for; what else is taken in the stretch is no candidate.
    """
    counts = np.zeros((3, interactions.n_users), np.int64)

    def rank_of(block: Block) -> Ints:
        times = _times(block)
        rank = np.where(times < start, _HISTORY, np.where(may_ask[block.part.items], _ASKED, _ASIDE))
        if stop is not None:
            rank[times >= stop] = -1
        for kind in (_HISTORY, _ASIDE, _ASKED):
            counts[kind, block.users] = np.bincount(block.part.users[rank == kind], minlength=block.part.n_users)
        return rank

    rows = regrouped(interactions, rank_of)
    first = rows.offsets[:-1]
    n_history, n_aside, n_asked = counts

    def of(users: Ints) -> Cases:
        told = first[users] + n_history[users]
        asked = told + n_aside[users]
        targets = stacked(asked, asked + n_asked[users])
        return Cases(rows, users, stacked(first[users], told), targets, known=stacked(first[users], asked))

    return of(np.flatnonzero((n_asked > 0) & (n_history > 0))), of(np.flatnonzero((n_asked > 0) & (n_history == 0)))


def _times(block: Block) -> NDArray[Any]:
    assert block.part.times is not None
    return block.part.times


def _n_targets(cases: Cases, n_items: int) -> int:
    """How many items are targets of any case."""
    met = np.zeros(n_items, bool)
    for at in range(0, len(cases), _CASES_AT_ONCE):
        met[cases.interactions.items[spans(*cases.targets[at : at + _CASES_AT_ONCE].T)]] = True
    return int(met.sum())
