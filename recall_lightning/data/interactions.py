"""Interactions: who met which item, when, as columns grouped by user."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.ragged import Ints, offsets_of
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
class Interactions:
    """Interactions grouped by user, oldest first.

    Attributes:
        user_ids: `(users,)` the files' strings.
        items: `(interactions,)` int64 rows of the catalogue.
        times: `(interactions,)` seconds, or None where the source has none.
        offsets: `(users + 1,)` int64: user u's interactions are the rows `offsets[u]` to `offsets[u + 1]`.
    """

    user_ids: list[str]
    items: Ints
    times: NDArray[Any] | None
    offsets: Ints

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
        """`(interactions,)` int64: the user of each row."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    def history(self, user: int) -> Ints:
        """`(n,)` int64 catalogue rows that the user met, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def select(self, rows: NDArray[np.bool_]) -> "Interactions":
        """The rows where `rows` is true; every user keeps their place, some without any interaction left."""
        lengths = np.bincount(self.users[rows], minlength=self.n_users)
        times = None if self.times is None else self.times[rows]
        return Interactions(self.user_ids, self.items[rows], times, offsets_of(lengths))


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
    row_of = {item: row for row, item in enumerate(catalogue_ids)}
    rows = np.array([row_of.get(item, -1) for item in log.item_ids], np.int64)
    items = rows[log.items]
    if (items < 0).any():
        lost = [log.item_ids[i] for i in dict.fromkeys(log.items[items < 0].tolist())]
        shown = ", ".join(repr(item) for item in lost[:3])
        raise InputError(
            f"{log.source}: no text for {len(lost)} item(s): {shown}. Describe them in the items file, or set "
            "data.missing_text: drop to leave out their interactions"
        )
    user_keys = hashes(log.user_ids, seed)
    user_order = np.argsort(user_keys, kind="stable") if shuffle_users else np.arange(len(user_keys))
    user_rank = np.empty(len(user_order), np.int64)
    user_rank[user_order] = np.arange(len(user_order))
    users = user_rank[log.users]

    keys: list[NDArray[Any]] = [users]  # the most significant first
    if log.times is not None:
        keys.append(log.times)
    if ties == "shuffle":
        keys.append(mix(user_keys[log.users] ^ mix(hashes(log.item_ids, seed)[log.items])))
    order = np.lexsort(keys[::-1])  # stable: rows that are equal in every key keep the file's order
    users, items = users[order], items[order]
    times = None if log.times is None else log.times[order]

    pairs = users * len(catalogue_ids) + items
    once = np.zeros(len(order), bool)
    if repeats == "first":
        once[np.unique(pairs, return_index=True)[1]] = True
    else:
        once[len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]] = True
    lengths = np.bincount(users[once], minlength=len(user_order))
    present = (lengths > 0) | (not shuffle_users)
    user_ids = [log.user_ids[u] for u in user_order[present]]
    return Interactions(user_ids, items[once], None if times is None else times[once], offsets_of(lengths[present]))


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
