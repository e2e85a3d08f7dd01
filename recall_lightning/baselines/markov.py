"""MarkovChain: what users took soon after what this user took last."""

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.libraries import library
from recall_lightning.baselines.matrices import history_items
from recall_lightning.baselines.ties import by_popularity
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.successors import successor_counts


class MarkovChain(Contender):
    """Scores an item by how often it followed the newest items of the history.

    `c_ij = sum_d #{j taken d steps after i} / d` for d up to the window, `s_ij = c_ij / (n_i n_j^b)`, and
    `score_j = sum_a a^-r s_(i_a)j` over the last items i_a, the newest at a = 1. n_i: training interactions with i;
    b: how much popular items are held back; r: how fast the past fades. A first-order chain has a window and a history
    of 1 (Rendle et al., WWW 2010); skips as of Garcin et al. (RecSys 2013), and sequential rules of Ludewig and
    Jannach (UMUAI 2018), who weigh by 1 / d, too.

    Settings:
        last: newest items of a history that count.
        decay: r.
        window: steps after an item that count as following it.
        discount: b.
    """

    name = "Markov chain"
    score_grid = {"last": (10, 1, 2, 3, 5, 20, 50, 100), "decay": (1.0, 0.5, 1.5)}  # noqa: RUF012
    fit_grid = {"window": (10, 1, 3, 20, 50), "discount": (0.25, -0.25, 0.0, 0.5)}  # noqa: RUF012

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        n_items = len(data.catalogue)
        counts = np.bincount(train.items, minlength=n_items)
        self.counts = torch.from_numpy(counts)
        sparse = library("scipy.sparse")
        sizes = np.maximum(counts, 1).astype(np.float32)
        rows, columns, counted = successor_counts(train, n_items, self.settings["window"])
        followed = sparse.csr_matrix((counted.astype(np.float32), (rows, columns)), shape=(n_items, n_items))
        discounts = sizes ** -np.float32(self.settings["discount"])
        self.follows = sparse.diags(1 / sizes) @ followed @ sparse.diags(discounts)

    def score(self, batch: EvalBatch) -> Tensor:
        profile = history_items(batch.history, len(self.counts), self.settings["last"], decay=self.settings["decay"])
        return by_popularity(torch.from_numpy((profile @ self.follows).toarray()), self.counts)
