"""BPR: matrix factors that rank what was taken above what wasn't."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender, last_of
from recall_lightning.baselines.libraries import library
from recall_lightning.baselines.matrices import user_items
from recall_lightning.baselines.ties import by_popularity
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions


class BPR(Contender):
    """Scores an item by `u.v_j + b_j`, u being the mean factor of the profile or, for a user of the training, learned.

    `max sum log sigmoid((u.v_i + b_i) - (u.v_j + b_j)) - h |.|^2` over drawn taken i and not taken j (Rendle et al.,
    UAI 2009), by `implicit`.

    Args:
        learning_rate: of the gradient steps.
        n_threads: that `implicit` runs; equal inputs give equal scores with 1 alone.
        seed: of the first factors and all draws.

    Settings:
        last: newest items of a history that make the profile; None for all.
        learned: whether users of the training are described by their own factor.
        l2: h.
        iterations: as many draws each as there are training interactions.
        factors: width.
    """

    name = "BPR"
    score_grid = {"last": (5, 1, 3, 10, 20, None), "learned": (False, True)}  # noqa: RUF012
    fit_grid = {"l2": (0.01, 0.001), "iterations": (30, 100), "factors": (64,)}  # noqa: RUF012

    def __init__(self, *, learning_rate: float = 0.05, n_threads: int = 1, seed: int = 0, **settings: object) -> None:
        super().__init__(**settings)
        self.learning_rate, self.n_threads, self.seed = learning_rate, n_threads, seed

    @property
    def identity(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "n_threads": self.n_threads, "seed": self.seed}

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        implicit, threads = library("implicit.bpr"), library("threadpoolctl")
        n_items = len(data.catalogue)
        self.counts = torch.from_numpy(np.bincount(train.items, minlength=n_items))
        with threads.threadpool_limits(limits=1, user_api="blas"):  # implicit runs its own, and warns of BLAS's
            model = implicit.BayesianPersonalizedRanking(
                factors=self.settings["factors"], regularization=self.settings["l2"], learning_rate=self.learning_rate,
                iterations=self.settings["iterations"], num_threads=self.n_threads, random_state=self.seed,
                use_gpu=False,
            )  # fmt: skip
            model.fit(user_items(train, n_items), show_progress=False)
        items, users = torch.from_numpy(model.item_factors), torch.from_numpy(model.user_factors)
        self.items, self.bias, self.users = items[:, :-1].contiguous(), items[:, -1].contiguous(), users[:, :-1]
        self.trained = torch.from_numpy(train.lengths > 0)

    def score(self, batch: EvalBatch) -> Tensor:
        newest = last_of(batch.history, self.settings["last"])
        present = newest >= 0
        total = (self.items[newest.clamp(min=0)] * present[..., None]).sum(1)
        users = total / present.sum(1, keepdim=True).clamp(min=1)
        if self.settings["learned"]:
            known = self.trained[batch.users]
            users = torch.where(known[:, None], self.users[batch.users], users)
        scores = users @ self.items.T + self.bias
        scores[:, self.counts == 0] = scores.amin() - 1  # all that such an item has is its random start
        return by_popularity(scores, self.counts)
