"""Interactions that outgrow memory: filtered, sorted and grouped by user a part at a time.

What comes out is what `Filters.apply` and `group_by_user` make of the whole log in memory, to the last row. The parts
are read once, and rows that pass are put aside by user, in buckets that memory can hold: by the high bits of the hash
that users are ordered by, so buckets that are sorted one after the other are all rows in order.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import compress
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.filters import Filters
from recall_lightning.data.grouping import Ties, catalogue_rows, hashes, in_order, tie_keys
from recall_lightning.data.interaction_log import Codes, InteractionLog, LogInParts, LogPart
from recall_lightning.data.interactions import Block, Columns, Interactions
from recall_lightning.data.prepared import Prepared
from recall_lightning.data.ragged import Ints
from recall_lightning.data.room import Growing, Room, Spill


def stream(log: LogInParts, described: Catalogue, filters: Filters, *, ties: Ties, seed: int, room: Room) -> Prepared:
    """Read, filter and group interactions in bounded memory.

    Ids of users and items are in memory, as are a few numbers of each; of the interactions, `room.rows` at once.

    Args:
        log: the interactions.
        described: the items as read.
        filters: what counts.
        ties, seed: as of `group_by_user`.
        room: where rows are put aside.

    Returns:
        What came of it; what the reader left out, the reader knows.

    Raises:
        InputError: as of `Filters.apply` and `group_by_user`.
    """
    passed = _Passed(Spill(room, room.buckets_for(log.n_rows)), described, filters, seed)
    for part in log.parts():
        passed.add(part, log.source)
    grouped, n_rows = _grouped(passed, ties, room)
    item_ids, n_kept, n_mute = passed.items.ids.to_pylist(), passed.n_kept, int((~passed.known).sum())
    if filters.has_core:
        inside = Core.of(grouped, len(item_ids), filters)
        n_kept = sum(int(n_rows[block.rows][inside.rows(block)].sum()) for block in grouped.blocks())
        passed.left_out["core"] = passed.n_kept - n_kept
        grouped = grouped.taken(lambda block: np.flatnonzero(inside.rows(block)))
    left_out = filters.named(passed.left_out, n_mute)
    if not n_kept:
        raise filters.nothing_left(log.source, len(passed.users), left_out)
    met = np.zeros(len(item_ids), bool)
    for block in grouped.blocks():
        met[block.part.items] = True
    catalogue = described
    if filters.catalogue_items == "interacted":
        left = {item for item, is_met in zip(item_ids, met.tolist(), strict=True) if is_met}
        catalogue = described.select([row for row, item in enumerate(described.ids) if item in left])
    rows = catalogue_rows(log.source, item_ids, np.flatnonzero(met), catalogue.ids)
    return Prepared(
        _in_catalogue(grouped, rows), catalogue, passed.n_read, left_out, [], n_kept - len(grouped), len(item_ids),
        n_mute, passed.n_without_text,
    )  # fmt: skip


class _Passed:
    """The rows that pass the filters which look at each by itself, put aside by user.

    Attributes:
        spill: users, items and (where there are any) times of the rows.
        users, items: numbers of the ids that were read.
        user_keys, item_keys: the ids' hashes.
        known: `(items,)` whether the catalogue has them.
        times: the type that holds all times; None where there are none.
        n_read, n_kept, n_without_text: rows that were read, that passed, and that are with items without a text.
        left_out: rows that each filter left out, by its key.
    """

    def __init__(self, spill: Spill, described: Catalogue, filters: Filters, seed: int) -> None:
        self.spill, self._described, self.filters, self._seed = spill, described, filters, seed
        self.users, self.items = Codes(), Codes()
        self.user_keys, self.item_keys, self.known = np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, bool)
        self.times: Any = None
        self.n_read = self.n_kept = self.n_without_text = 0
        self.left_out = Counter[str]()

    def add(self, part: LogPart, source: str) -> None:
        """Take in a part of the log of this name."""
        users, items = self.users.of(part.users), self.items.of(part.items)
        new_users = self.users.ids[len(self.user_keys) :].to_pylist()
        new_items = self.items.ids[len(self.item_keys) :].to_pylist()
        self.user_keys = np.concatenate([self.user_keys, hashes(new_users, self._seed)])
        self.item_keys = np.concatenate([self.item_keys, hashes(new_items, self._seed)])
        self.known = np.concatenate([self.known, np.array([self._described.row(i) >= 0 for i in new_items], bool)])
        log = InteractionLog(source, [], [], users, items, part.times, part.weights)
        keep, left_out = self.filters.rows(log, self.known)
        self.left_out += left_out
        self.n_read += len(log)
        self.n_kept += int(keep.sum())
        self.n_without_text += int((~self.known[items]).sum())
        columns = [users[keep].astype(np.int32), items[keep].astype(np.int32)]
        if part.times is not None:
            columns.append(part.times[keep])
            self.times = np.result_type(part.times.dtype, self.times or part.times.dtype)
        high = self.user_keys[columns[0]] >> np.uint64(32)
        buckets = (high * np.uint64(self.spill.n_buckets)) >> np.uint64(32)  # ascending, as the hashes are
        self.spill.add(buckets.astype(np.int64), *columns)


def _grouped(passed: _Passed, ties: Ties, room: Room) -> tuple[Interactions, NDArray[np.int32]]:
    """All rows in order, items as `passed` numbers them; and for how many each stands, where a core asks for it."""
    order = np.argsort(passed.user_keys, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    n_items = len(passed.items)
    lengths = np.zeros(len(order), np.int64)
    made, n_rows = Columns(passed.times, room), Growing(room, np.int32)
    for bucket in range(passed.spill.n_buckets):
        codes, items, *more = passed.spill.read(bucket)
        times = more[0].astype(passed.times, copy=False) if more else None  # large whole seconds else sort otherwise
        tied = tie_keys(passed.user_keys, passed.item_keys, codes, items) if ties == "shuffle" else None
        users = rank[codes]
        kept = in_order(users, items, times, tied, n_items, passed.filters.repeats)
        if passed.filters.has_core:
            pairs, n = np.unique(users * n_items + items, return_counts=True)
            n_rows.append(n[np.searchsorted(pairs, users[kept] * n_items + items[kept])])
        made.append(items[kept], None if times is None else times[kept])
        there, n = np.unique(users[kept], return_counts=True)
        lengths[there] = n
    return made.grouped(passed.users.ids.take(pa.array(order)).to_pylist(), lengths), n_rows.whole()


@dataclass(frozen=True)
class Core:
    """The k-core of grouped interactions: `core`, in passes over blocks.

    Attributes:
        users: `(users,)` bool, those who are left.
        items: `(items,)` bool, those that are left.
    """

    users: NDArray[np.bool_]
    items: NDArray[np.bool_]

    @classmethod
    def of(cls, grouped: Interactions, n_items: int, filters: Filters) -> Self:
        """Find it: a row is left as long as its user and its item are."""
        inside = cls(np.ones(grouped.n_users, bool), np.ones(n_items, bool))
        while True:
            n_of_user, n_of_item = np.zeros(grouped.n_users, np.int64), np.zeros(n_items, np.int64)
            for block in grouped.blocks():
                rows = inside.rows(block)
                n_of_user[block.users] = np.bincount(block.part.users[rows], minlength=block.part.n_users)
                n_of_item += np.bincount(block.part.items[rows], minlength=n_items)
            left = cls(n_of_user >= filters.min_interactions, n_of_item >= filters.min_users)
            if (left.users == inside.users).all() and (left.items == inside.items).all():
                return inside
            inside = left

    def rows(self, block: Block) -> NDArray[np.bool_]:
        """`(rows of the block,)` bool, those that are left."""
        inside: NDArray[np.bool_] = self.users[block.users][block.part.users] & self.items[block.part.items]
        return inside


def _in_catalogue(grouped: Interactions, rows: Ints) -> Interactions:
    """Items as rows of the catalogue, of users with any interaction left."""
    made = Columns(None if grouped.times is None else grouped.times.dtype, grouped.room)
    for block in grouped.blocks():
        made.append(rows[block.part.items], block.part.times)
    present = grouped.lengths > 0
    return made.grouped(list(compress(grouped.user_ids, present)), grouped.lengths[present])
