"""What a split gives: a training part, and cases to be asked about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.grouping import hashes, mix
from recall_lightning.data.interactions import Block, Interactions
from recall_lightning.data.ragged import Ints


@dataclass(frozen=True)
class Cases:
    """Users to recommend to: what is known of each by then, and what they took next.

    All are spans of rows of the same interactions, so a user's history is never copied.

    Attributes:
        interactions: what the spans point into.
        users: `(cases,)` int64 users of `interactions`.
        history: `(cases, 2)` int64, rows `[start, stop)` that a model is told.
        targets: `(cases, 2)` int64, rows `[start, stop)` to be recalled.
        known: `(cases, 2)` int64, rows `[start, stop)` that are no candidates: the history, and what else of the user's
            comes before the targets or is trained on.
        among: `(items,)` bool, the new items that all targets are of, where a ranking among these alone is of
            interest, too.
    """

    interactions: Interactions
    users: Ints
    history: Ints
    targets: Ints
    known: Ints
    among: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def history_lengths(self) -> Ints:
        """`(cases,)` int64: items that a model is told of each user."""
        return self.history[:, 1] - self.history[:, 0]


@dataclass(frozen=True)
class Split:
    """Interactions in three parts.

    Attributes:
        train: what a model may learn from, every user in their place.
        validation: cases to choose by.
        test: cases to report once.
        apart: test cases that are no part of `test`, such as users who are new after a cut in time; by name.
        held_items: `(items,)` bool, items that training must know nothing of: no negatives either.
        notes: what a user should know of this split, a line each.
    """

    train: Interactions
    validation: Cases
    test: Cases
    apart: Mapping[str, Cases] = field(default_factory=dict)
    held_items: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()


def drawn(ids: list[str], share: float, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw ids for validation and for test, each with chance `share`, by a seeded hash of the id alone.

    Whether an id is drawn doesn't depend on the others: more data, or a longer file, keeps the same ids held out.

    Returns:
        `(ids,)` bool for validation and for test; no id is in both.
    """
    position = mix(hashes(ids, seed)) / 2**64  # (ids,) in [0, 1); mixed, for users are ordered by the hash itself
    return (position >= share) & (position < 2 * share), position < share


def regrouped(interactions: Interactions, rank_of: Callable[[Block], NDArray[Any]]) -> Interactions:
    """Each user's rows by rank, and in time order within a rank.

    Args:
        interactions: whose users keep their places.
        rank_of: `(rows,)` integers of a block's rows: lower ones come first, and those below 0 are left out.
    """

    def rows_of(block: Block) -> Ints:
        rank = rank_of(block)
        chosen = np.flatnonzero(rank >= 0)
        return chosen[np.lexsort((rank[chosen], block.part.users[chosen]))]  # stable

    return interactions.taken(rows_of)


def stacked(starts: Ints, stops: Ints) -> Ints:
    """`(spans, 2)` int64."""
    return np.stack([starts, stops], 1)
