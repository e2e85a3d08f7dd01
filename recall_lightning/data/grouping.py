"""Grouping: a log's rows by user, each user's in time order."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, offsets_of
from recall_lightning.errors import InputError

Ties = Literal["row", "shuffle"]
Repeats = Literal["first", "last"]


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
