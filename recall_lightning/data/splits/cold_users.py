"""cold_users: users held out whole, of whom a model is told the first few interactions."""

from typing import Literal

import numpy as np

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, spans
from recall_lightning.data.splits.base import Cases, Split, drawn, stacked
from recall_lightning.errors import InputError


def cold_users(
    interactions: Interactions,
    *,
    share: float = 0.1,
    k: int = 5,
    query: Literal["next", "fixed"] = "next",
    support: Literal["first", "last"] = "first",
    n_queries: int = 5,
    window_from: int = 20,
    seed: int = 0,
) -> Split:
    """Hold out users whole; tell a model k interactions of each (the support), ask for what follows (the query).

    With `query: next`, the support is a user's first k interactions and the query the next ones. Over several k that
    measures help and distance at once, so with `query: fixed` the query is one window for every k, and the support
    either the first k or the k right before the window; what lies between is neither told nor asked for.

    Args:
        interactions: all of them.
        share: chance of a user to be a test user, and again to be a validation user.
        k: interactions that are told, 0 or more.
        query: which interactions are asked for.
        support: which interactions are told where the query is fixed.
        n_queries: most interactions that are asked for, 1 or more; a shorter user is asked for what there is.
        window_from: place in a user's history, from 0, where the fixed query starts; at least k.
        seed: of the draw.

    Raises:
        InputError: if a part has no user with enough interactions.
    """
    validation, test = drawn(interactions.user_ids, share, seed)
    at = k if query == "next" else window_from
    too_short = 0

    def cases(held: Ints, part: str) -> Cases:
        nonlocal too_short
        users = held[interactions.lengths[held] > at]
        too_short += len(held) - len(users)
        if not len(users):
            raise InputError(
                f"data.splits: none of the {len(held)} users held out for the {part} has more than {at} interactions. "
                f"Lower data.splits.{'k' if query == 'next' else 'window_from'}, or raise data.splits.share"
            )
        start, stop = interactions.offsets[users], interactions.offsets[users + 1]
        asked = start + at
        told = asked - k if query == "fixed" and support == "last" else start
        return Cases(
            interactions,
            users,
            history=stacked(told, told + k),
            targets=stacked(asked, np.minimum(asked + n_queries, stop)),
            known=stacked(start, asked),
        )

    to_validate, to_test = cases(np.flatnonzero(validation), "validation"), cases(np.flatnonzero(test), "test")
    n_trained = np.where(validation | test, 0, interactions.lengths)
    train = interactions.taken(
        lambda block: spans(block.part.offsets[:-1], block.part.offsets[:-1] + n_trained[block.users])
    )
    if not len(train):
        raise InputError("data.splits: all users are held out, none is left to train on. Lower data.splits.share")
    notes = [f"{int(validation.sum())} users held out for validation and {int(test.sum())} for the test"]
    if too_short:
        notes.append(f"{too_short} of them have no more than {at} interactions: they are asked about nothing")
    return Split(train, to_validate, to_test, notes=tuple(notes))
