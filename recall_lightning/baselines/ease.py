"""EASE: a linear model from items to items, in closed form."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recall_lightning.baselines.base import Contender, UnavailableError, last_of
from recall_lightning.baselines.matrices import user_items
from recall_lightning.baselines.ties import by_popularity
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions


class EASE(Contender):
    """Scores an item by a weighted sum over the profile, the weights being those that rebuild the training histories.

    `min_B |X - X B|^2 + lambda |B|^2` with `B_jj = 0`, so `P = (X^T X + lambda I)^-1`, `B_ij = -P_ij / P_jj` (Steck,
    WWW 2019). X: users by items, 1 where taken.

    Args:
        max_gib: most memory for the inverse.

    Settings:
        last: newest items of a history that make the profile; None for all.
        l2: lambda.
    """

    name = "EASE"
    score_grid = {"last": (5, 1, 3, 10, 20, None)}  # noqa: RUF012
    fit_grid = {"l2": (500, 50, 200, 1000, 2000, 5000)}  # noqa: RUF012

    def __init__(self, *, max_gib: float = 4.0, **settings: object) -> None:
        super().__init__(**settings)
        self.max_gib = max_gib

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        n_items = len(data.catalogue)
        needed = 3 * 8 * n_items**2 / 2**30  # the sum of products, its Cholesky factor and the inverse, float64
        if needed > self.max_gib:
            raise UnavailableError(
                f"needs {needed:.0f} GiB for {n_items} x {n_items} items, more than {self.max_gib:g} GiB"
            )
        taken = user_items(train, n_items)
        self.counts = torch.from_numpy(np.bincount(train.items, minlength=n_items))
        together = torch.from_numpy((taken.T @ taken).toarray()).double()  # counts: exact in float32 up to 2^24
        together.diagonal().add_(self.settings["l2"])
        factor, _ = torch.linalg.cholesky_ex(together, check_errors=True)
        inverse = torch.cholesky_inverse(factor)
        self.weights = inverse.div_(-inverse.diagonal()).float()  # column j over P_jj
        self.weights.fill_diagonal_(0)

    def score(self, batch: EvalBatch) -> Tensor:
        newest = last_of(batch.history, self.settings["last"])
        present = newest >= 0
        starts = present.sum(1).cumsum(0) - present.sum(1)
        return by_popularity(F.embedding_bag(newest[present], self.weights, starts, mode="sum"), self.counts)
