"""leave_last_out: each user's newest interaction is the test, the one before the validation."""

import numpy as np

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, spans
from recall_lightning.data.splits.base import Cases, Split, stacked
from recall_lightning.errors import InputError


def leave_last_out(interactions: Interactions) -> Split:
    """Hold back each user's newest interaction for the test and the one before for validation.

    A user with two interactions has no validation case, and a user with one only trains; test histories include the
    validation targets. Times of different users overlap: others' training interactions may be newer than a user's test
    target, which `temporal` rules out.

    Raises:
        InputError: if no user has two interactions.
    """
    start, stop, lengths = interactions.offsets[:-1], interactions.offsets[1:], interactions.lengths
    if not (lengths >= 2).any():
        raise InputError(
            f"data.splits: each of the {interactions.n_users} user(s) has one interaction, so there is none to hold "
            "back. leave_last_out needs users with two or more: give longer histories"
        )
    held = np.clip(lengths - 1, 0, 2)
    train = interactions.taken(lambda block: spans(block.part.offsets[:-1], block.part.offsets[1:] - held[block.users]))

    def last(users: Ints, back: int) -> Cases:
        target = stop[users] - back
        history = stacked(start[users], target)
        return Cases(interactions, users, history, stacked(target, target + 1), known=history)

    test = last(np.flatnonzero(held >= 1), 1)
    notes = []
    if interactions.times is not None and train.times is not None:
        share = float((interactions.times[test.targets[:, 0]] < train.times.max()).mean())
        notes.append(
            f"{share:.0%} of the test targets are older than the newest training interaction: users are split each by "
            "their own time. Choose temporal to split all at one"
        )
    lone = int((lengths == 1).sum())
    if lone:
        notes.append(f"{lone} user(s) have a single interaction: they count in training, and are asked about nothing")
    return Split(train, last(np.flatnonzero(held >= 2), 2), test, notes=tuple(notes))
