"""iALS: matrix factors by alternating least squares, over all pairs of users and items."""

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


class IALS(Contender):
    """Scores an item by its factor's product with the user's, which is solved for from the profile.

    `min sum_ui w_ui (r_ui - u.v)^2 + h (sum_u |u|^2 + sum_i |v|^2)`, r and w being 1 and alpha where u took i, else 0
    and 1 (Hu et al., ICDM 2008; how much tuning matters: Rendle et al., RecSys 2022), by `implicit`. Every user, known
    or new, is folded in: `u = (V^T V + (alpha - 1) V_P^T V_P + h I)^-1 alpha V_P^T 1`, P the profile.

    Args:
        iterations: passes over users and items.
        n_threads: that `implicit` runs.
        seed: of the first factors.

    Settings:
        last: newest items of a history that make the profile; None for all.
        alpha: weight of what was taken against what wasn't.
        l2: h.
        factors: width.
    """

    name = "iALS"
    score_grid = {"last": (10, 3, 5, 20, None)}  # noqa: RUF012
    fit_grid = {"alpha": (3, 1.5, 10, 30, 100), "l2": (1, 0.1, 10, 100, 300), "factors": (64, 128, 256)}  # noqa: RUF012

    def __init__(self, *, iterations: int = 10, n_threads: int = 1, seed: int = 0, **settings: object) -> None:
        super().__init__(**settings)
        self.iterations, self.n_threads, self.seed = iterations, n_threads, seed

    @property
    def identity(self) -> dict[str, Any]:
        return {"iterations": self.iterations, "seed": self.seed}

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        implicit, threads = library("implicit.als"), library("threadpoolctl")
        n_items = len(data.catalogue)
        self.counts = torch.from_numpy(np.bincount(train.items, minlength=n_items))
        with threads.threadpool_limits(limits=1, user_api="blas"):  # implicit runs its own, and warns of BLAS's
            model = implicit.AlternatingLeastSquares(
                factors=self.settings["factors"], regularization=self.settings["l2"], alpha=self.settings["alpha"],
                iterations=self.iterations, num_threads=self.n_threads, random_state=self.seed, use_gpu=False,
            )  # fmt: skip
            model.fit(user_items(train, n_items), show_progress=False)
        self.items = torch.from_numpy(model.item_factors)
        self.products = self.items.T @ self.items + self.settings["l2"] * torch.eye(self.items.shape[1])

    def score(self, batch: EvalBatch) -> Tensor:
        return by_popularity(self.fold_in(last_of(batch.history, self.settings["last"])) @ self.items.T, self.counts)

    def fold_in(self, profile: Tensor) -> Tensor:
        """Solve for the factors of users.

        Args:
            profile: `(batch, history)` int64, -1 where there is none.

        Returns:
            `(batch, factors)` float32.
        """
        present = profile >= 0
        taken = self.items[profile.clamp(min=0)] * present[..., None]  # (batch, history, factors)
        alpha = self.settings["alpha"]
        weighted = self.products + (alpha - 1) * (taken.mT @ taken)  # (batch, factors, factors)
        return torch.linalg.solve(weighted, alpha * taken.sum(1))
