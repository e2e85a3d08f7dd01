"""Interactions: who met which item, when, as columns grouped by user."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recall_lightning.data.ragged import Ints, offsets_of
from recall_lightning.data.room import Growing, Room
from recall_lightning.errors import InputError

Ties = Literal["row", "shuffle"]
Repeats = Literal["first", "last"]


@dataclass(frozen=True)
class InteractionLog:
    """Interactions as a file has them: a row each, in the file's order, ids as strings.

    Attributes:
        source: the file's name, for messages.
        user_ids: `(distinct users,)` in order of appearance.
        item_ids: `(distinct items,)` in order of appearance.
        users: `(rows,)` int64 positions in `user_ids`.
        items: `(rows,)` int64 positions in `item_ids`.
        times: `(rows,)` int64 or float64 seconds, or None: then row order is time order.
        weights: `(rows,)` float64, such as a rating, or None.
    """

    source: str
    user_ids: list[str]
    item_ids: list[str]
    users: Ints
    items: Ints
    times: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: NDArray[np.bool_]) -> "InteractionLog":
        """The rows where `rows` is true; ids keep their positions."""
        times = None if self.times is None else self.times[rows]
        weights = None if self.weights is None else self.weights[rows]
        return InteractionLog(
            self.source, self.user_ids, self.item_ids, self.users[rows], self.items[rows], times, weights
        )


@dataclass(frozen=True)
class LogPart:
    """Some rows of a log, ids as they were read.

    Attributes:
        users, items: `(rows,)` Arrow's strings.
        times, weights: as of `InteractionLog`.
    """

    users: pa.Array
    items: pa.Array
    times: NDArray[Any] | None
    weights: NDArray[np.float64] | None


@dataclass(frozen=True)
class LogInParts:
    """An `InteractionLog` that may outgrow memory, and so is read part by part.

    Attributes:
        source: its name, for messages.
        n_rows: rows that there are, broken ones included.
        parts: reads it: parts that follow each other.
        memory_mb: MiB that its interactions may take in memory at once.
    """

    source: str
    n_rows: int
    parts: Callable[[], Iterator[LogPart]]
    memory_mb: int

    def whole(self) -> InteractionLog:
        """All of it, in memory."""
        users, items, parts = Codes(), Codes(), list(self.parts())
        user_rows, item_rows = (
            np.concatenate([codes.of(column) for column in columns])
            for codes, columns in ((users, [part.users for part in parts]), (items, [part.items for part in parts]))
        )
        return InteractionLog(
            self.source, users.ids.to_pylist(), items.ids.to_pylist(), user_rows, item_rows,
            _joined([part.times for part in parts]), _joined([part.weights for part in parts]),
        )  # fmt: skip


def _joined(columns: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    there = [column for column in columns if column is not None]
    return np.concatenate(there) if there else None


class Codes:
    """Numbers ids in the order in which they first come.

    Attributes:
        ids: Arrow's strings: the ids in this order. No Python object stands for each.
    """

    def __init__(self) -> None:
        self.ids = pa.array([], pa.large_string())

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: pa.Array) -> Ints:
        """`(n,)` int64: the number of each."""
        ids = ids.cast(pa.large_string())
        codes = pc.index_in(ids, self.ids)
        if codes.null_count:
            self.ids = pa.concat_arrays([self.ids, ids.filter(codes.is_null()).unique()])
            codes = pc.index_in(ids, self.ids)
        return np.asarray(codes.to_numpy(), np.int64)


@dataclass(frozen=True)
class Interactions:
    """Interactions grouped by user, oldest first.

    Attributes:
        user_ids: `(users,)` the files' strings.
        items: `(interactions,)` int64 rows of the catalogue.
        times: `(interactions,)` seconds, or None where the source has none.
        offsets: `(users + 1,)` int64: user u's interactions are the rows `offsets[u]` to `offsets[u + 1]`.
        room: where `items` and `times` are mapped from files, since they may outgrow memory: where to put what is made
            of them. None where they are in memory.
    """

    user_ids: list[str]
    items: Ints
    times: NDArray[Any] | None
    offsets: Ints
    room: Room | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def lengths(self) -> Ints:
        """`(users,)` int64: interactions a user."""
        return np.diff(self.offsets)

    @property
    def users(self) -> Ints:
        """`(interactions,)` int64: the user of each row, in memory."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    def history(self, user: int) -> Ints:
        """`(n,)` int64 catalogue rows that the user met, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def item_counts(self, n_items: int) -> Ints:
        """`(items,)` int64: interactions with each item of the catalogue."""
        counts = np.zeros(n_items, np.int64)
        for block in self.blocks():  # all at once, numpy would copy what is mapped into memory
            counts += np.bincount(block.part.items, minlength=n_items)
        return counts

    def blocks(self) -> "Iterator[Block]":
        """All of them, some users after the other: as many as memory may hold, or all at once where it holds all.

        A user with more interactions than that is a block of their own.
        """
        first = 0
        while first < self.n_users:
            last = self.n_users
            if self.room is not None:
                end = self.offsets[first] + self.room.rows
                last = max(first + 1, int(np.searchsorted(self.offsets, end, side="right")) - 1)
            users, rows = slice(first, last), slice(int(self.offsets[first]), int(self.offsets[last]))
            times = None if self.times is None else self.times[rows]
            offsets = self.offsets[first : last + 1] - self.offsets[first]
            yield Block(users, rows, Interactions(self.user_ids[users], self.items[rows], times, offsets))
            first = last

    def taken(self, rows_of: "Callable[[Block], Ints]") -> "Interactions":
        """Some rows of each block; every user keeps their place, some without any interaction left.

        Args:
            rows_of: `(n,)` int64 rows of a block, those of one user together and users in their order.
        """
        lengths = np.zeros(self.n_users, np.int64)
        made = Columns(None if self.times is None else self.times.dtype, self.room)
        for block in self.blocks():
            part, rows = block.part, rows_of(block)
            lengths[block.users] = np.bincount(part.users[rows], minlength=part.n_users)
            made.append(part.items[rows], None if part.times is None else part.times[rows])
        return made.grouped(self.user_ids, lengths)

    def select(self, rows: NDArray[np.bool_]) -> "Interactions":
        """The rows where `rows` is true; every user keeps their place, some without any interaction left."""
        return self.taken(lambda block: np.flatnonzero(rows[block.rows]))


@dataclass(frozen=True)
class Block:
    """Some users of `Interactions`, who stand side by side, with all of their rows.

    Attributes:
        users: where they stand.
        rows: where their rows stand.
        part: interactions of these users alone.
    """

    users: slice
    rows: slice
    part: Interactions


class Columns:
    """The columns of `Interactions`, made part by part.

    Args:
        times: the type of their times, None where they have none.
        room: where they grow; None for memory.
    """

    def __init__(self, times: Any, room: Room | None) -> None:
        self._items, self._times = Growing(room, np.int64), None if times is None else Growing(room, times)
        self._room = room

    def append(self, items: Ints, times: NDArray[Any] | None) -> None:
        """Put rows at the end."""
        self._items.append(items)
        if self._times is not None and times is not None:
            self._times.append(times)

    def grouped(self, user_ids: list[str], lengths: Ints) -> Interactions:
        """All rows, as those of users who have so many each."""
        times = None if self._times is None else self._times.whole()
        return Interactions(user_ids, self._items.whole(), times, offsets_of(lengths), self._room)


def group_by_user(
    log: InteractionLog,
    catalogue_ids: Sequence[str],
    *,
    ties: Ties,
    seed: int = 0,
    repeats: Repeats = "first",
    shuffle_users: bool = True,
) -> Interactions:
    """Group a log by user and put each user's interactions in time order, each item once.

    Args:
        log: every item of it must be in `catalogue_ids`.
        catalogue_ids: `(items,)` the catalogue's ids; interactions come to point at its rows.
        ties: what orders interactions of one user at the same time: `row` keeps the file's order, `shuffle` takes a
            seeded hash of user and item (a source's order inside a tie can be learnable, and so leak). Without times,
            row order is time order with `row`, and all of a user's interactions are tied with `shuffle`.
        seed: seed of the hashes.
        repeats: which of a user's interactions with the same item is kept.
        shuffle_users: whether users come in the order of their ids' seeded hashes, so that neither the file's order
            nor the ids themselves carry anything into training, and those without any interaction are left out;
            else all come in the log's order.

    Raises:
        InputError: if an item of the log is not in the catalogue.
    """
    rows = catalogue_rows(log.source, log.item_ids, log.items, catalogue_ids)
    user_keys = hashes(log.user_ids, seed)
    user_order = np.argsort(user_keys, kind="stable") if shuffle_users else np.arange(len(user_keys))
    user_rank = np.empty(len(user_order), np.int64)
    user_rank[user_order] = np.arange(len(user_order))
    users = user_rank[log.users]
    tied = tie_keys(user_keys, hashes(log.item_ids, seed), log.users, log.items) if ties == "shuffle" else None
    order = in_order(users, log.items, log.times, tied, len(log.item_ids), repeats)
    lengths = np.bincount(users[order], minlength=len(user_order))
    present = (lengths > 0) | (not shuffle_users)
    user_ids = [log.user_ids[u] for u in user_order[present]]
    times = None if log.times is None else log.times[order]
    return Interactions(user_ids, rows[log.items[order]], times, offsets_of(lengths[present]))


def catalogue_rows(source: str, item_ids: Sequence[str], met: Ints, catalogue_ids: Sequence[str]) -> Ints:
    """Where a log's items stand in the catalogue.

    Args:
        source: name of the log.
        item_ids: `(n,)` the log's ids.
        met: int64 positions of those ids that interactions are with, any number of times.
        catalogue_ids: `(items,)` the catalogue's ids.

    Returns:
        `(n,)` int64, -1 for an item that no interaction is with and that isn't in the catalogue.

    Raises:
        InputError: if an item with an interaction is not in the catalogue.
    """
    row_of = {item: row for row, item in enumerate(catalogue_ids)}
    rows = np.array([row_of.get(item, -1) for item in item_ids], np.int64)
    lost = np.flatnonzero((np.bincount(met, minlength=len(rows)) > 0) & (rows < 0)).tolist()
    if lost:
        shown = ", ".join(repr(item_ids[item]) for item in lost[:3])
        raise InputError(
            f"{source}: no text for {len(lost)} item(s): {shown}. Describe them in the items file, or set "
            "data.missing_text: drop to leave out their interactions"
        )
    return rows


def tie_keys(
    user_keys: NDArray[np.uint64], item_keys: NDArray[np.uint64], users: Ints, items: Ints
) -> NDArray[np.uint64]:
    """`(rows,)` uint64: what orders a user's interactions at the same time, by the hashes of user and item."""
    return mix(user_keys[users] ^ mix(item_keys[items]))


def in_order(
    users: Ints, items: Ints, times: NDArray[Any] | None, tied: NDArray[np.uint64] | None, n_items: int,
    repeats: Repeats,
) -> Ints:  # fmt: skip
    """Group rows by user, each user's in time order and each item once.

    Args:
        users, items: `(rows,)` int64.
        times: `(rows,)` seconds, None where there are none.
        tied: `(rows,)` what orders a user's rows at the same time; None for the order in which they stand.
        n_items: items are below that.
        repeats: which row is kept of a user's with the same item.

    Returns:
        `(n,)` int64: the rows that are kept, in order.
    """
    keys = [key for key in (users, times, tied) if key is not None]  # the most significant first
    order = np.lexsort(keys[::-1])  # stable: rows that are equal in every key keep their order
    pairs = users[order] * n_items + items[order]
    once = np.zeros(len(order), bool)
    if repeats == "first":
        once[np.unique(pairs, return_index=True)[1]] = True
    else:
        once[len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]] = True
    return order[once]


def hashes(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """`(ids,)` uint64: a hash of each id that is the same on every machine (BLAKE2b, keyed by the seed)."""
    key = seed.to_bytes(8, "little", signed=True)
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8, key=key).digest() for i in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64-bit keys over all 64 bits (the finalizer of splitmix64, Steele et al., OOPSLA 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
