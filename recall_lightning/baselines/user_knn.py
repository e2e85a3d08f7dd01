"""UserKNN: what users with a like history took."""

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.libraries import library
from recall_lightning.baselines.matrices import history_items, user_items
from recall_lightning.baselines.ties import by_popularity
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions


class UserKNN(Contender):
    """Scores an item by the training users that took it, each weighing their likeness to the profile.

    `s_uv = c_uv / (sqrt(n_u n_v) + h)`, of which the k largest are kept; `score_j = sum_v s_uv` over those that took j.
    c_uv: items of the profile that v took; n_u: items of the profile; n_v: items that v took (Resnick et al., CSCW
    1994; for implicit feedback with shrinkage as Ferrari Dacrema et al., RecSys 2019, tune it). A user isn't their own
    neighbour.

    Settings:
        last: newest items of a history that make the profile; None for all.
        k: neighbours.
        shrink: h.
    """

    name = "user kNN"
    score_grid = {"last": (5, 1, 3, 10, 20, None), "k": (100, 20, 50, 200, 500), "shrink": (0, 10, 100)}  # noqa: RUF012

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        n_items = len(data.catalogue)
        self.counts = torch.from_numpy(np.bincount(train.items, minlength=n_items))
        self.taken = user_items(train, n_items)
        self.by_item = self.taken.T.tocsr()
        self.lengths = train.lengths

    def score(self, batch: EvalBatch) -> Tensor:
        profile = history_items(batch.history, len(self.counts), self.settings["last"])
        together = (profile @ self.by_item).toarray()  # (batch, training users)
        users = batch.users.numpy()
        trained = np.flatnonzero(users >= 0)
        together[trained, users[trained]] = 0
        sizes = np.sqrt(np.diff(profile.indptr)[:, None] * self.lengths)
        cosine = (together / np.maximum(sizes + self.settings["shrink"], 1e-9)).astype(np.float32)
        values, nearest = torch.from_numpy(cosine).topk(min(self.settings["k"], cosine.shape[1]))
        offsets = np.arange(len(values) + 1) * values.shape[1]
        neighbours = library("scipy.sparse").csr_matrix(
            (values.numpy().ravel(), nearest.numpy().ravel(), offsets), shape=cosine.shape
        )
        return by_popularity(torch.from_numpy((neighbours @ self.taken).toarray()), self.counts)
