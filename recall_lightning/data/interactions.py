"""Interactions: who met which item, when, as columns grouped by user."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.ragged import Ints, offsets_of
from recall_lightning.data.room import Growing, Room


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
