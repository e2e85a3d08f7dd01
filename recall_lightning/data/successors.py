"""What was taken soon after each item."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions


def successors(
    train: Interactions, n_items: int, *, window: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Count how often items follow others: `c_ij = sum_d #{j taken d steps after i} / d` for d up to the window.

    Args:
        train: the training part.
        n_items: of the catalogue.
        window: steps.
        most: successors an item that are kept: those of the largest counts, of equal ones those of lower rows.

    Returns:
        `(items, width)` int64 rows of successors, largest count first, -1 at the right, and `(items, width)` float32
        `c_ij / n_i`, with n_i the training interactions with i, 0 at the right; width is at most `most`.
    """
    users, items = train.users, train.items
    keys: NDArray[Any] = np.zeros(0, np.int64)
    counts: NDArray[Any] = np.zeros(0)
    for distance in range(1, min(window, int(train.lengths.max(initial=0)) - 1) + 1):
        same = users[:-distance] == users[distance:]
        pairs = items[:-distance][same] * n_items + items[distance:][same]
        found, times = np.unique(pairs, return_counts=True)
        keys, place = np.unique(np.concatenate([keys, found]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, times / distance]), len(keys))
    rows, columns = np.divmod(keys, n_items)
    order = np.lexsort((columns, -counts, rows))
    rows, columns, counts = rows[order], columns[order], counts[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < most
    width = int(rank[kept].max(initial=-1)) + 1
    after: NDArray[np.int64] = np.full((n_items, width), -1, np.int64)
    share: NDArray[Any] = np.zeros((n_items, width), np.float32)
    at = rows[kept], rank[kept]
    after[at] = columns[kept]
    share[at] = counts[kept] / np.bincount(items, minlength=n_items)[rows[kept]]
    return after, share
