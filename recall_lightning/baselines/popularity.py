"""Popularity: everyone gets what most users took, ever, lately, early or late in their histories."""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.ties import by_popularity
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions


class _Counting(Contender):
    """Scores an item by how many of some training interactions are with it, equal items by how many of all are."""

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        n_items = len(data.catalogue)
        chosen, counts = (
            torch.from_numpy(np.bincount(items, minlength=n_items))
            for items in (train.items[self._counted(train)], train.items)
        )
        self.scores = by_popularity(chosen.float(), counts)

    def score(self, batch: EvalBatch) -> Tensor:
        return self.scores.repeat(len(batch.users), 1)

    @abstractmethod
    def _counted(self, train: Interactions) -> NDArray[np.bool_]:
        """`(interactions,)` bool: which ones count."""


class Popularity(_Counting):
    """Scores an item by its training interactions."""

    name = "popularity"

    def _counted(self, train: Interactions) -> NDArray[np.bool_]:
        return np.ones(len(train), bool)


class RecentPopularity(_Counting):
    """Scores an item by its interactions among the newest of all training interactions.

    Ji et al., "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR 2020. Without times, the newest are
    those nearest to the end of their user's history. What is as old as the oldest of the share counts, too.

    Settings:
        share: of the training interactions.
    """

    name = "recent popularity"
    fit_grid = {"share": (0.01, 0.003, 0.03, 0.1, 0.3)}  # noqa: RUF012

    def _counted(self, train: Interactions) -> NDArray[np.bool_]:
        if not len(train):
            return np.zeros(0, bool)
        age = from_end(train) if train.times is None else -train.times
        n_newest = max(1, round(self.settings["share"] * len(train)))
        return age <= np.partition(age, n_newest - 1)[n_newest - 1]


class FirstPopularity(_Counting):
    """Scores an item by how many users have it among their first training interactions: what newcomers take.

    Settings:
        n: first interactions a user.
    """

    name = "popularity among first"
    fit_grid = {"n": (1, 3, 5, 10, 20, 50)}  # noqa: RUF012

    def _counted(self, train: Interactions) -> NDArray[np.bool_]:
        place = np.arange(len(train)) - np.repeat(train.offsets[:-1], train.lengths)
        return place < self.settings["n"]


class LastPopularity(_Counting):
    """Scores an item by how many users have it among their last training interactions.

    Settings:
        n: last interactions a user.
    """

    name = "popularity among last"
    fit_grid = {"n": (1, 3, 5, 10, 20, 50)}  # noqa: RUF012

    def _counted(self, train: Interactions) -> NDArray[np.bool_]:
        return from_end(train) <= self.settings["n"]


def from_end(train: Interactions) -> NDArray[np.int64]:
    """`(interactions,)` int64: each one's place in its user's history, the last at 1."""
    return np.repeat(train.offsets[1:], train.lengths) - np.arange(len(train))
