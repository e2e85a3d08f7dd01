"""Filters: which interactions count at all, before anything is split."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog
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
        known = np.array([catalogue.row(item) >= 0 for item in log.item_ids], bool)
        keep, counts = self.rows(log, known)
        if self.has_core:
            inside = core(log, keep, self.min_interactions, self.min_users)
            counts["core"] = int(keep.sum() - inside.sum())
            keep = inside
        left_out = self.named(counts, int((~known).sum()))
        if not keep.any():
            raise self.nothing_left(log.source, len(log.user_ids), left_out)
        log = log if keep.all() else log.select(keep)
        if self.catalogue_items == "interacted":
            left = np.bincount(log.items, minlength=len(log.item_ids)) > 0
            met = {item for item, is_left in zip(log.item_ids, left.tolist(), strict=True) if is_left}
            catalogue = catalogue.select([row for row, item in enumerate(catalogue.ids) if item in met])
        return log, catalogue, left_out

    def rows(self, log: InteractionLog, known: Keep) -> tuple[Keep, Counter[str]]:
        """Apply the filters that look at each row by itself: all but the core.

        Args:
            log: as read, or a part of it.
            known: `(distinct items,)` whether the catalogue has the log's items.

        Returns:
            `(rows,)` which rows pass, and how many each filter left out, by its key.

        Raises:
            InputError: if a filter needs what the log doesn't have.
        """
        keep, counts = np.ones(len(log), bool), Counter[str]()

        def apply(key: str, passes: Keep) -> None:
            nonlocal keep
            counts[key] = int((keep & ~passes).sum())
            keep = keep & passes

        if self.min_weight is not None:
            if log.weights is None:
                raise InputError(f"data.min_weight: {log.source} has no weights. Add a column, or drop the key")
            apply("min_weight", log.weights >= self.min_weight)
        for key, passes in (("since", np.greater_equal), ("until", np.less)):
            if getattr(self, key) is None:
                continue
            if log.times is None:
                raise InputError(f"data.{key}: {log.source} has no times. Add a column, or drop the key")
            apply(key, passes(log.times, moment(getattr(self, key), f"data.{key}")))
        if self.missing_text == "drop":
            apply("missing_text", known[log.items])
        return keep, counts

    @property
    def has_core(self) -> bool:
        """Whether users and items need a number of each other."""
        return self.min_interactions > 1 or self.min_users > 1

    def named(self, counts: Mapping[str, int], n_unknown: int) -> dict[str, int]:
        """Counts that are not 0, by what a person is told, in the order of the filters.

        Args:
            counts: by key, as of `rows`; that of the k-core is `core`.
            n_unknown: items without a text.
        """
        names = {
            "min_weight": f"weight below {self.min_weight or 0:g}",
            "since": f"before {self.since}",
            "until": f"not before {self.until}",
            "missing_text": f"without text for their item ({n_unknown:,} items)",
            "core": f"outside the core of {self.min_interactions} items a user, {self.min_users} users an item",
        }
        return {name: counts[key] for key, name in names.items() if counts.get(key)}

    def nothing_left(self, source: str, n_users: int, left_out: Mapping[str, int]) -> InputError:
        """What a user is told where no interaction is left."""
        told = "; ".join(f"{n:,} {name}" for name, n in left_out.items()) or "none was read"
        return InputError(
            f"{source}: no user is left of {n_users} after filtering ({told}). Lower data.min_weight, min_interactions "
            "or min_users, move since or until, or see to the items' texts"
        )


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
