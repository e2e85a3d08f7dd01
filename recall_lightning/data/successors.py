"""What was taken soon after each item, and what was taken by the same users."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints
from recall_lightning.data.room import Room, Spill

_PENDING = 2**22  # counts that wait to be added up: adding sorts them all
_MOST_BUCKETS = 1024

Counts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]


def successor_counts(train: Interactions, n_items: int, window: int, *, nearer_more: bool = True) -> Counts:
    """Count how often items follow others: `c_ij = sum_d #{j taken d steps after i} / d` for d up to the window.

    Args:
        train: the training part.
        n_items: of the catalogue.
        window: steps.
        nearer_more: whether what is d steps away counts 1/d; else 1.

    Returns:
        `(pairs,)` each: i, j and `c_ij`, in the order of i and j, of all pairs that were met.
    """
    parts: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.zeros(0, np.int64), np.zeros(0))]
    for distance, pairs in _steps(train, n_items, window):
        found, times = np.unique(pairs, return_counts=True)
        parts.append((found, times / distance if nearer_more else times.astype(float)))
        if sum(len(keys) for keys, _ in parts[1:]) > max(len(parts[0][0]), _PENDING):
            parts = [_added(parts)]
    keys, counts = _added(parts)
    rows, columns = np.divmod(keys, n_items)
    return rows, columns, counts


def successors(train: Interactions, n_items: int, *, window: int, most: int) -> Ranked:
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
    largest = _Largest(train.item_counts(n_items), most)
    for rows, columns, counts in _counted(train, n_items, window, both_ways=False):
        largest.add(rows, columns, counts, order_by=counts)
    return largest.table()


def neighbours(train: Interactions, n_items: int, *, window: int, most: int) -> Ranked:
    """The items that are nearest to each item by who took them, in whichever order.

    Args:
        train: the training part.
        n_items: of the catalogue.
        window: steps between both, at most.
        most: neighbours an item that are kept: those of the largest `c_ij / sqrt(n_i n_j)`.

    Returns:
        As `successors`, nearest first, with `c_ij` how often both were met in one history.
    """
    met = train.item_counts(n_items)
    largest = _Largest(met, most)
    for rows, columns, counts in _counted(train, n_items, window, both_ways=True):
        other = rows != columns
        rows, columns, counts = rows[other], columns[other], counts[other]
        largest.add(rows, columns, counts, order_by=counts / np.sqrt(met[rows] * met[columns]))
    return largest.table()


class _Largest:
    """The pairs of each row that are largest by some number.

    Args:
        met: `(items,)` int64 training interactions with each.
        most: pairs a row.
    """

    def __init__(self, met: Ints, most: int) -> None:
        self._met, self._most = met, most
        self._kept: list[tuple[NDArray[Any], ...]] = []

    def add(self, rows: Ints, columns: Ints, counts: NDArray[Any], *, order_by: NDArray[Any]) -> None:
        """Look at all pairs of some rows."""
        order = np.lexsort((columns, -order_by, rows))
        rows, columns, counts = rows[order], columns[order], counts[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = rank < self._most
        share = counts[kept] / self._met[rows[kept]]
        whole = (column[kept].astype(np.int32) for column in (rows, rank, columns))
        self._kept.append((*whole, share.astype(np.float32)))

    def table(self) -> Ranked:
        """What `successors` gives."""
        width = max(int(rank.max(initial=-1)) for _, rank, _, _ in self._kept) + 1
        after: NDArray[np.int64] = np.full((len(self._met), width), -1, np.int64)
        share: NDArray[Any] = np.zeros((len(self._met), width), np.float32)
        for rows, rank, columns, shares in self._kept:
            after[rows, rank], share[rows, rank] = columns, shares
        return after, share


def _steps(train: Interactions, n_items: int, window: int) -> Iterator[tuple[int, Ints]]:
    """Each distance up to the window, and the pairs that are so far apart, as `i n_items + j`, as often as met."""
    users, items = train.users, train.items
    for distance in range(1, min(window, int(train.lengths.max(initial=0)) - 1) + 1):
        same = users[:-distance] == users[distance:]
        yield distance, items[:-distance][same] * n_items + items[distance:][same]


def _counted(train: Interactions, n_items: int, window: int, *, both_ways: bool) -> Iterator[Counts]:
    """As `successor_counts`, all pairs of some rows at a time: of i and j by 1/d, or both ways and each by 1."""
    if train.room is None:
        rows, columns, counts = successor_counts(train, n_items, window, nearer_more=not both_ways)
        if both_ways:
            keys, counts = _added([(rows * n_items + columns, counts), (columns * n_items + rows, counts)])
            rows, columns = np.divmod(keys, n_items)
        yield rows, columns, counts
        return
    spill = _spilled(train, train.room, n_items, window, both_ways=both_ways)
    for bucket in range(spill.n_buckets):
        parts: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.zeros(0, np.int64), np.zeros(0))]
        for keys, counts in spill.pieces(bucket):  # a popular item's pairs may be more than memory holds
            parts.append((keys, counts))
            if sum(len(keys) for keys, _ in parts[1:]) > max(len(parts[0][0]), train.room.rows):
                parts = [_added(parts)]
        keys, counts = _added(parts)
        distance, keys = np.divmod(keys, n_items**2)
        keys, counts = _added([(keys, counts / np.maximum(distance, 1))])  # by rising distance, as in memory
        rows, columns = np.divmod(keys, n_items)
        yield rows, columns, counts


def _spilled(train: Interactions, room: Room, n_items: int, window: int, *, both_ways: bool) -> Spill:
    """Pairs and how often they were met, put aside by their first item.

    A pair is `(d n_items + i) n_items + j`, with d the distance where that counts, else 0: so all numbers are whole,
    and their sums don't depend on the order in which they were put aside.
    """
    met = train.item_counts(n_items)
    n_buckets = min(room.buckets_for(len(train) * window * (1 + both_ways)), _MOST_BUCKETS)
    bucket_of = np.minimum(np.cumsum(met) * n_buckets // max(len(train), 1), n_buckets - 1)  # equal shares of rows
    spill = Spill(room, n_buckets)

    def put(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
        keys, counts = _added(parts)
        spill.add(bucket_of[keys // n_items % n_items], keys, counts)

    for block in train.blocks():
        parts: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.zeros(0, np.int64), np.zeros(0))]
        for distance, pairs in _steps(block.part, n_items, window):
            found, times = np.unique(pairs, return_counts=True)
            if both_ways:
                parts += [(found, times), (found % n_items * n_items + found // n_items, times)]
            else:
                parts.append((found + distance * n_items**2, times))
            if sum(len(keys) for keys, _ in parts) > room.rows:
                put(parts)
                parts = parts[:1]
        put(parts)
    return spill


def _added(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Keys, each once and ascending, and the sum of its counts."""
    keys, place = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    return keys, np.bincount(place, np.concatenate([counts for _, counts in parts]), len(keys))
