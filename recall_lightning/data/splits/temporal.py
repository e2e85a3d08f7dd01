"""temporal: a cut in time that is the same for all users."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.moments import readable
from recall_lightning.data.ragged import spans
from recall_lightning.data.splits.base import Cases, Split, count_per_user, regrouped, stacked
from recall_lightning.errors import InputError


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
    ordered = np.sort(times)
    first = (
        ordered[min(int(len(times) * (1 - 2 * share)), len(times) - 1)] if validation_from is None else validation_from
    )
    second = ordered[min(int(len(times) * (1 - share)), len(times) - 1)] if test_from is None else test_from
    if not first < second:
        raise InputError(
            f"data.splits: the validation starts at {readable(first)} and the test at {readable(second)}, so nothing "
            "lies between. Give data.splits.validation_from and test_from, or another share"
        )
    before, between, after = times < first, (times >= first) & (times < second), times >= second
    trained = np.bincount(interactions.items[before], minlength=n_items) > 0
    known_item = trained[interactions.items]

    test, apart = _part(interactions, before | between, after & known_item, aside=after & ~known_item)
    new_items, _ = _part(interactions, before | between, after & ~known_item, aside=after & known_item)
    validation, _ = _part(interactions, before, between & known_item, aside=between & ~known_item)
    for name, n_cases in [("training", int(before.sum())), ("validation", len(validation)), ("test", len(test))]:
        if not n_cases:
            raise InputError(
                f"data.splits: no {name} case with the cuts {readable(first)} and {readable(second)}. temporal needs "
                "users on both sides of a cut: move it, or choose leave_last_out"
            )
    notes = [f"validation from {readable(first)}, test from {readable(second)}"]
    if len(apart):
        notes.append(f"{len(apart)} user(s) appear after the test's cut: apart as 'new users'")
    if len(new_items):
        n_new = len(np.unique(new_items.interactions.items[spans(*new_items.targets.T)]))
        notes.append(f"{n_new} item(s) were never trained on and are taken after the test's cut: apart as 'new items'")
    kept = {name: cases for name, cases in [("new users", apart), ("new items", new_items)] if len(cases)}
    if "new items" in kept:
        kept["new items"] = replace(new_items, among=~trained)
    return Split(interactions.select(before), validation, test, kept, ~trained, tuple(notes))


def _part(
    interactions: Interactions, history: NDArray[np.bool_], asked: NDArray[np.bool_], aside: NDArray[np.bool_]
) -> tuple[Cases, Cases]:
    """Cases of users with a history, and of those without; what is taken then but not asked for is no candidate."""
    rows = regrouped(interactions, history | asked | aside, np.where(asked, 2, np.where(history, 0, 1)))
    n_history, n_aside, n_asked = (count_per_user(interactions, part) for part in (history, aside, asked))
    start = rows.offsets[:-1]

    def of(users: NDArray[np.int64]) -> Cases:
        told = start[users] + n_history[users]
        first = told + n_aside[users]
        targets = stacked(first, first + n_asked[users])
        return Cases(rows, users, stacked(start[users], told), targets, known=stacked(start[users], first))

    return of(np.flatnonzero((n_asked > 0) & (n_history > 0))), of(np.flatnonzero((n_asked > 0) & (n_history == 0)))
