"""Filters: which interactions count at all, before anything is split."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import InteractionLog
from recall_lightning.data.moments import moment
from recall_lightning.data.ragged import Ints
from recall_lightning.errors import InputError

Keep = NDArray[np.bool_]


@dataclass
class Filters:
    """Which interactions count. They are applied in the order in which they stand here.

    The k-core counts all interactions, those that a split holds back later included, as RecBole's and RecTools' do: it
    says which data set is spoken of, and nothing of it reaches a model.

    Args:
        min_weight: interactions of less weight (a low rating) are left out.
        since: interactions before this moment (seconds or ISO 8601) are left out.
        until: interactions at this moment and after it are left out.
        missing_text: what to do about interactions with items that have no text: `error`, or `drop` them.
        repeats: which of a user's interactions with the same item counts: the `first` or the `last`.
        min_interactions: users with fewer different items are left out,
        min_users: and so are items with fewer users, in turns until all left have enough (the k-core).
        catalogue_items: the items that are ranked: all that are `described`, or those with an `interacted` one left.
    """

    min_weight: float | None = None
    since: str | float | None = None
    until: str | float | None = None
    missing_text: Literal["error", "drop"] = "error"
    repeats: Literal["first", "last"] = "first"
    min_interactions: int = 1
    min_users: int = 1
    catalogue_items: Literal["described", "interacted"] = "described"

    def check(self) -> None:
        """Refuse values that can't be meant.

        Raises:
            InputError: naming the key.
        """
        for key in ("min_interactions", "min_users"):
            if getattr(self, key) < 1:
                raise InputError(f"data.{key} is {getattr(self, key)}: give 1 or more")
        for key in ("since", "until"):
            if getattr(self, key) is not None:
                moment(getattr(self, key), f"data.{key}")

    def apply(self, log: InteractionLog, catalogue: Catalogue) -> tuple[InteractionLog, Catalogue, dict[str, int]]:
        """Leave out what doesn't count.

        Args:
            log: as read.
            catalogue: as read.

        Returns:
            What is left of both, and how many interactions each filter left out, by its name.

        Raises:
            InputError: if a filter needs what the log doesn't have, or nothing is left.
        """
        counts: dict[str, int] = {}
        keep = np.ones(len(log), bool)

        def apply(name: str, passes: Callable[[], Keep]) -> None:
            nonlocal keep
            before = int(keep.sum())
            keep = keep & passes()
            if before - int(keep.sum()):
                counts[name] = before - int(keep.sum())

        if self.min_weight is not None:
            least, weights = self.min_weight, log.weights
            if weights is None:
                raise InputError(f"data.min_weight: {log.source} has no weights. Add a column, or drop the key")
            apply(f"weight below {least:g}", lambda: weights >= least)
        for key in ("since", "until"):
            if getattr(self, key) is None:
                continue
            cut, times = moment(getattr(self, key), f"data.{key}"), log.times
            if times is None:
                raise InputError(f"data.{key}: {log.source} has no times. Add a column, or drop the key")
            name, passes = ("before", np.greater_equal) if key == "since" else ("not before", np.less)
            apply(f"{name} {getattr(self, key)}", partial(passes, times, cut))
        if self.missing_text == "drop":
            known = np.array([catalogue.row(item) >= 0 for item in log.item_ids], bool)
            apply(f"without text for their item ({int((~known).sum()):,} items)", lambda: known[log.items])
        if self.min_interactions > 1 or self.min_users > 1:
            name = f"outside the core of {self.min_interactions} items a user, {self.min_users} users an item"
            apply(name, lambda: core(log, keep, self.min_interactions, self.min_users))
        if not keep.any():
            raise InputError(
                f"{log.source}: no user is left of {len(log.user_ids)} after filtering ({_told(counts)}). Lower "
                "data.min_weight, min_interactions or min_users, move since or until, or see to the items' texts"
            )
        log = log if keep.all() else log.select(keep)
        if self.catalogue_items == "interacted":
            left = np.bincount(log.items, minlength=len(log.item_ids)) > 0
            met = {item for item, is_left in zip(log.item_ids, left.tolist(), strict=True) if is_left}
            catalogue = catalogue.select([row for row, item in enumerate(catalogue.ids) if item in met])
        return log, catalogue, counts


def core(log: InteractionLog, keep: Keep, min_items: int, min_users: int) -> Keep:
    """The largest set of interactions in which every user has enough items, and every item enough users.

    Args:
        log: interactions; one user's with one item count once.
        keep: `(rows,)` bool, those that count.
        min_items: different items a user.
        min_users: different users an item.

    Returns:
        `(rows,)` bool, the rows of the core.
    """
    n_items, n_users = len(log.item_ids), len(log.user_ids)
    pairs: Ints = np.unique(log.users[keep] * n_items + log.items[keep])
    users, items = pairs // n_items, pairs % n_items
    while True:
        enough = np.bincount(users, minlength=n_users)[users] >= min_items
        enough &= np.bincount(items, minlength=n_items)[items] >= min_users
        if enough.all():
            break
        users, items = users[enough], items[enough]
    inside: Keep = keep & np.isin(log.users * n_items + log.items, users * n_items + items)
    return inside


def _told(counts: dict[str, int]) -> str:
    return "; ".join(f"{n:,} {name}" for name, n in counts.items()) or "none was read"
