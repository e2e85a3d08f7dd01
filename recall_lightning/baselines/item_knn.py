"""ItemKNN: items that the same users took."""

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.libraries import library
from recall_lightning.baselines.matrices import Sparse, history_items, user_items
from recall_lightning.baselines.ties import by_popularity
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions

ITEMS_AT_ONCE = 512  # of the dense block of similarities: 75 MB for 36,000 items


class ItemKNN(Contender):
    """Scores an item by its similarity to the newest items of the history, each known by its nearest items.

    `s_ij = c_ij / (sqrt(n_i n_j) + h)`, of which each item i keeps the k largest; `score_j = sum_i s_ij` over the
    profile. c_ij: users who took both; n_i: users who took i; h: shrinkage, against chance among rare items (Sarwar et
    al., WWW 2001; with shrinkage as Ferrari Dacrema et al., RecSys 2019, tune it).

    Settings:
        last: newest items of a history that make the profile; None for all.
        shrink: h.
        k: neighbours an item keeps.
    """

    name = "item kNN"
    score_grid = {"last": (5, 1, 3, 10, 20, None)}  # noqa: RUF012
    fit_grid = {"shrink": (0, 10, 100, 1000), "k": (100, 50, 200, 500, 1000)}  # noqa: RUF012

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self._nearest: tuple[Interactions, tuple[int, int], Sparse] | None = None

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        n_items, k, shrink = len(data.catalogue), self.settings["k"], self.settings["shrink"]
        self.counts = torch.from_numpy(np.bincount(train.items, minlength=n_items))
        most = max(k, *self.fit_grid["k"])  # for all the values of k at once
        if self._nearest is None or self._nearest[0] is not train or self._nearest[1] != (most, shrink):
            self._nearest = train, (most, shrink), nearest(user_items(train, n_items), most, shrink)
        self.similar = largest(self._nearest[2], k)

    def score(self, batch: EvalBatch) -> Tensor:
        profile = history_items(batch.history, len(self.counts), self.settings["last"])
        return by_popularity(torch.from_numpy((profile @ self.similar).toarray()), self.counts)


def nearest(taken: Sparse, k: int, shrink: float) -> Sparse:
    """Each item's nearest items by cosine, a block of items at a time.

    Args:
        taken: `(users, items)` of 0 and 1.
        k: neighbours to keep.
        shrink: see `ItemKNN`.

    Returns:
        `(items, items)` float32, at most k positive values a row.
    """
    sparse = library("scipy.sparse")
    by_item, n_items = taken.T.tocsr(), taken.shape[1]
    size = np.sqrt(np.diff(by_item.indptr)).astype(np.float32)
    blocks = []
    for start in range(0, n_items, ITEMS_AT_ONCE):
        rows = np.arange(start, min(start + ITEMS_AT_ONCE, n_items))
        together = (by_item[rows] @ taken).toarray()  # (block, items)
        together[np.arange(len(rows)), rows] = 0
        cosine = together / np.maximum(size[rows, None] * size + np.float32(shrink), np.float32(1e-9))
        values, columns = torch.from_numpy(cosine).topk(min(k, n_items))
        offsets = np.arange(len(rows) + 1) * values.shape[1]
        block = sparse.csr_matrix((values.numpy().ravel(), columns.numpy().ravel(), offsets), shape=cosine.shape)
        block.eliminate_zeros()
        blocks.append(block)
    return sparse.vstack(blocks, format="csr")


def largest(similar: Sparse, k: int) -> Sparse:
    """The k largest values of each row, where the rows are in descending order, as of `nearest`."""
    place = np.arange(similar.nnz) - np.repeat(similar.indptr[:-1], np.diff(similar.indptr))
    kept = place < k
    offsets = np.concatenate([[0], np.cumsum(np.minimum(np.diff(similar.indptr), k))])
    return type(similar)((similar.data[kept], similar.indices[kept], offsets), shape=similar.shape)
