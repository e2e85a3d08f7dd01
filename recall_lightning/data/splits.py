"""Splits: what a model may train on, and the cases it is asked about."""

from dataclasses import dataclass

import numpy as np

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints
from recall_lightning.errors import InputError


@dataclass(frozen=True)
class Cases:
    """Users to recommend to: what is known of each by then, and what they took next.

    Both are spans of rows of the same interactions, so a user's history is never copied.

    Attributes:
        interactions: what the spans point into.
        users: `(cases,)` int64 users of `interactions`.
        history: `(cases, 2)` int64, rows `[start, stop)` that are known.
        targets: `(cases, 2)` int64, rows `[start, stop)` to be recalled.
    """

    interactions: Interactions
    users: Ints
    history: Ints
    targets: Ints

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Split:
    """Interactions in three parts.

    Attributes:
        train: what a model may learn from, every user in their place.
        validation: cases to choose by.
        test: cases to report once; their histories include the validation targets.
    """

    train: Interactions
    validation: Cases
    test: Cases


def leave_last_out(interactions: Interactions) -> Split:
    """Hold back each user's newest interaction for the test and the one before for validation.

    A user with two interactions has no validation case, and a user with one only trains. Note that times of different
    users overlap: others' training interactions may be newer than a user's test target.

    Raises:
        InputError: if no user has two interactions.
    """
    start, stop, lengths = interactions.offsets[:-1], interactions.offsets[1:], interactions.lengths
    if not (lengths >= 2).any():
        raise InputError(
            f"data.splits: each of the {interactions.n_users} user(s) has one interaction, so there is none to hold "
            "back. leave_last_out needs users with two or more: give longer histories"
        )
    held = np.minimum(lengths - 1, 2)
    train = np.ones(len(interactions), bool)
    train[(stop - 1)[held >= 1]] = False
    train[(stop - 2)[held >= 2]] = False

    def last(users: Ints, back: int) -> Cases:
        target = stop[users] - back
        history = np.stack([start[users], target], 1)
        return Cases(interactions, users, history, np.stack([target, target + 1], 1))

    return Split(interactions.select(train), last(np.flatnonzero(held >= 2), 2), last(np.flatnonzero(held >= 1), 1))
