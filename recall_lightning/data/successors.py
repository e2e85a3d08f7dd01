"""What was taken soon after each item, and what was taken by the same users."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints

_PENDING = 2**22  # counts that wait to be added up: adding sorts them all


def successor_counts(
    train: Interactions, n_items: int, window: int, *, nearer_more: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Count how often items follow others: `c_ij = sum_d #{j taken d steps after i} / d` for d up to the window.

    Args:
        train: the training part.
        n_items: of the catalogue.
        window: steps.
        nearer_more: whether what is d steps away counts 1/d; else 1.

    Returns:
        `(pairs,)` each: i, j and `c_ij`, in the order of i and j, of all pairs that were met.
    """
    users, items = train.users, train.items
    parts: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.zeros(0, np.int64), np.zeros(0))]
    for distance in range(1, min(window, int(train.lengths.max(initial=0)) - 1) + 1):
        same = users[:-distance] == users[distance:]
        found, times = np.unique(items[:-distance][same] * n_items + items[distance:][same], return_counts=True)
        parts.append((found, times / distance if nearer_more else times.astype(float)))
        if sum(len(keys) for keys, _ in parts[1:]) > max(len(parts[0][0]), _PENDING):
            parts = [_added(parts)]
    keys, counts = _added(parts)
    rows, columns = np.divmod(keys, n_items)
    return rows, columns, counts


def successors(
    train: Interactions, n_items: int, *, window: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The items that follow each item most.

    Args:
        train: the training part.
        n_items: of the catalogue.
        window: steps.
        most: successors an item that are kept: those of the largest counts, of equal ones those of lower rows.

    Returns:
        `(items, width)` int64 rows of successors, largest count first, -1 at the right, and `(items, width)` float32
        `c_ij / n_i`, with c of `successor_counts` and n_i the training interactions with i, 0 at the right; width is at
        most `most`.
    """
    rows, columns, counts = successor_counts(train, n_items, window)
    return _largest(rows, columns, counts, counts, np.bincount(train.items, minlength=n_items), most)


def neighbours(
    train: Interactions, n_items: int, *, window: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The items that are nearest to each item by who took them, in whichever order.

    Args:
        train: the training part.
        n_items: of the catalogue.
        window: steps between both, at most.
        most: neighbours an item that are kept: those of the largest `c_ij / sqrt(n_i n_j)`.

    Returns:
        As `successors`, nearest first, with `c_ij` how often both were met in one history.
    """
    rows, columns, counts = successor_counts(train, n_items, window, nearer_more=False)
    keys, both = _added([(rows * n_items + columns, counts), (columns * n_items + rows, counts)])
    rows, columns = np.divmod(keys, n_items)
    met = np.bincount(train.items, minlength=n_items)
    different = rows != columns
    rows, columns, both = rows[different], columns[different], both[different]
    return _largest(rows, columns, both, both / np.sqrt(met[rows] * met[columns]), met, most)


def _largest(
    rows: NDArray[np.int64], columns: NDArray[np.int64], counts: NDArray[Any], order_by: NDArray[Any], met: Ints,
    most: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:  # fmt: skip
    """Of the pairs of each row those of the largest `order_by`, as `successors` gives them."""
    order = np.lexsort((columns, -order_by, rows))
    rows, columns, counts = rows[order], columns[order], counts[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < most
    width = int(rank[kept].max(initial=-1)) + 1
    after: NDArray[np.int64] = np.full((len(met), width), -1, np.int64)
    share: NDArray[Any] = np.zeros((len(met), width), np.float32)
    at = rows[kept], rank[kept]
    after[at] = columns[kept]
    share[at] = counts[kept] / met[rows[kept]]
    return after, share


def _added(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Keys, each once and ascending, and the sum of its counts."""
    keys, place = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    return keys, np.bincount(place, np.concatenate([counts for _, counts in parts]), len(keys))
