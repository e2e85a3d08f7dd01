"""Which split a config asks for."""

from dataclasses import dataclass
from typing import Literal

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.moments import moment
from recall_lightning.data.splits.base import Split
from recall_lightning.data.splits.cold_users import cold_users
from recall_lightning.data.splits.leave_last_out import leave_last_out
from recall_lightning.data.splits.new_items import new_items
from recall_lightning.data.splits.temporal import temporal
from recall_lightning.errors import InputError

Name = Literal["leave_last_out", "temporal", "cold_users", "new_items"]


@dataclass
class Splits:
    """How interactions are split; held-out users and items are drawn by a seeded hash (`data.seed`) of their id.

    Args:
        name: `leave_last_out`: each user's last interaction is the test, the one before the validation. `temporal`: one
            cut in time for all. `cold_users`: users held out whole, k interactions of each are told. `new_items`:
            items held out whole.
        share: of the interactions (`temporal`), users (`cold_users`) or items (`new_items`) that are the test, and
            again that are the validation.
        validation_from: for `temporal`: where the validation starts (seconds or ISO 8601), in place of `share`.
        test_from: for `temporal`: where the test starts.
        k: for `cold_users`: interactions that are told of a user (the support).
        query: for `cold_users`: ask for what follows the support at once (`next`), or for one later window for every k
            (`fixed`).
        support: for `cold_users` with a fixed query: the user's first k interactions, or the k right before the query
            (`last`).
        n_queries: for `cold_users`: most interactions that are asked for.
        window_from: for `cold_users` with a fixed query: where it starts in a user's history, from 0.
    """

    name: Name = "leave_last_out"
    share: float = 0.1
    validation_from: str | float | None = None
    test_from: str | float | None = None
    k: int = 5
    query: Literal["next", "fixed"] = "next"
    support: Literal["first", "last"] = "first"
    n_queries: int = 5
    window_from: int = 20

    def check(self) -> None:
        """Refuse values that can't be meant.

        Raises:
            InputError: naming the key.
        """
        if not 0 < self.share < 0.5:
            raise InputError(
                f"data.splits.share is {self.share}: it is held out twice, for validation and test, so give more than "
                "0 and less than 0.5"
            )
        for key, least in [("k", 0), ("n_queries", 1), ("window_from", 1)]:
            if getattr(self, key) < least:
                raise InputError(f"data.splits.{key} is {getattr(self, key)}: give {least} or more")
        if self.query == "fixed" and self.window_from < self.k:
            raise InputError(
                f"data.splits.window_from is {self.window_from}, before the end of the {self.k} interactions that are "
                "told (data.splits.k). Give at least as many"
            )
        if self.query == "next" and self.support == "last":
            raise InputError(
                "data.splits.support is last, which needs a window to stand before. Set data.splits.query: fixed"
            )
        for key in ("validation_from", "test_from"):
            if getattr(self, key) is not None:
                moment(getattr(self, key), f"data.splits.{key}")
                if self.name != "temporal":
                    raise InputError(
                        f"data.splits.{key} is a cut in time, but data.splits.name is {self.name}. Set it to temporal, "
                        "or drop the key"
                    )

    def split(self, interactions: Interactions, item_ids: list[str], seed: int) -> Split:
        """Split interactions as configured.

        Args:
            interactions: all of them.
            item_ids: `(items,)` of the catalogue.
            seed: of the draws.

        Raises:
            InputError: if the interactions can't be split so.
        """
        if self.name == "temporal":
            cuts = {
                key: moment(getattr(self, key), f"data.splits.{key}")
                for key in ("validation_from", "test_from")
                if getattr(self, key) is not None
            }
            return temporal(interactions, len(item_ids), share=self.share, **cuts)
        if self.name == "cold_users":
            return cold_users(
                interactions, share=self.share, k=self.k, query=self.query, support=self.support,
                n_queries=self.n_queries, window_from=self.window_from, seed=seed,
            )  # fmt: skip
        if self.name == "new_items":
            return new_items(interactions, item_ids, share=self.share, seed=seed)
        return leave_last_out(interactions)
