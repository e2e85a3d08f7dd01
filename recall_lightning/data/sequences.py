"""Sequences to learn from: which rows of a user's training interactions, and how long ones are cut."""

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, spans
from recall_lightning.data.room import Growing


def first_of_each(train: Interactions, first: int | None) -> Interactions:
    """Each user's first so many rows, or all for None; every user keeps their place."""
    if first is None:
        return train
    return train.taken(lambda block: spans(block.part.offsets[:-1], _ends(block.part.offsets, first)))


def sequences(train: Interactions, max_history: int, first: int | None = None) -> Ints:
    """Cut each user's training rows into sequences to learn from.

    Args:
        train: the training part.
        max_history: see `RecallDataModule`.
        first: how many of each user's first rows are cut; None for all.

    Returns:
        `(sequences, 2)` int64 spans of rows: all but the last are history, all but the first are targets. Neighbours
        of one user share a row, so each interaction but a user's first is a target exactly once.
    """
    made = Growing(train.room, np.int64)
    for block in train.blocks():
        offsets = train.offsets[block.users.start : block.users.stop + 1]
        ends = _ends(offsets, first)
        pairs = np.maximum(ends - offsets[:-1] - 1, 0)  # (history, target) pairs of each user
        cuts = -(-pairs // max_history)
        users = np.repeat(np.arange(len(cuts)), cuts)
        nth = np.arange(cuts.sum()) - np.repeat(np.cumsum(cuts) - cuts, cuts)
        # counted from the newest pair, so that a short remainder is the oldest part
        stops = ends[users] - (cuts[users] - 1 - nth) * max_history
        starts = np.maximum(offsets[:-1][users], stops - max_history - 1)
        made.append(np.stack([starts, stops], 1).ravel())
    return made.whole().reshape(-1, 2)


def _ends(offsets: Ints, first: int | None) -> Ints:
    return offsets[1:] if first is None else np.minimum(offsets[1:], offsets[:-1] + first)


def cut_in_two(
    starts: Ints, stops: Ints, real: NDArray[np.bool_], share: float, rng: np.random.Generator
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Cut some spans of a history and its targets in two, each with a history of its own.

    Args:
        starts, stops: `(spans,)` int64; one of fewer than three rows has a single target, and stays whole.
        real: `(spans,)` what else is known of each, which its parts have, too.
        share: of the spans that are cut.
        rng: of the draws.

    Returns:
        Starts, stops and `real` of all spans and, after them, of the second parts. The row where a span was cut is in
        both: the last target of the first part, and the oldest item of the second's history.
    """
    cut = np.flatnonzero((rng.random(len(starts)) < share) & (stops - starts > 2))
    at = rng.integers(starts[cut] + 1, stops[cut] - 1, dtype=np.int64)
    first_stops = stops.copy()
    first_stops[cut] = at + 1
    starts, stops = np.concatenate([starts, at]), np.concatenate([first_stops, stops[cut]])
    return starts, stops, np.concatenate([real, real[cut]])
