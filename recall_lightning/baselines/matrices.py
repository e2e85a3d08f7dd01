"""Interactions and histories as sparse matrices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recall_lightning.baselines.base import last_of
from recall_lightning.baselines.libraries import library
from recall_lightning.data.interactions import Interactions

Sparse = Any  # scipy.sparse.csr_matrix


def user_items(train: Interactions, n_items: int) -> Sparse:
    """`(users, n_items)` float32, 1 where the user took the item.

    Raises:
        UnavailableError: if scipy isn't installed.
    """
    return _rows(np.ones(len(train), np.float32), train.items, train.offsets, n_items)


def history_items(history: Tensor, n_items: int, n: int | None, *, decay: float = 0.0) -> Sparse:
    """Histories' newest items.

    Args:
        history: `(batch, history)` int64, newest in the last column, -1 at the left.
        n_items: items of the catalogue.
        n: how many of the newest; None for all.
        decay: the item at place a from the end, the newest at 1, weighs `a^-decay`.

    Returns:
        `(batch, n_items)` float32.

    Raises:
        UnavailableError: if scipy isn't installed.
    """
    newest = last_of(history, n).numpy()
    present = newest >= 0
    weights = np.arange(newest.shape[1], 0, -1, dtype=np.float32) ** -np.float32(decay)
    offsets = np.concatenate([[0], present.sum(1).cumsum()])
    return _rows(np.broadcast_to(weights, newest.shape)[present], newest[present], offsets, n_items)


def _rows(values: NDArray[np.float32], columns: NDArray[Any], offsets: NDArray[Any], n_columns: int) -> Sparse:
    sparse = library("scipy.sparse")
    made = sparse.csr_matrix((values, columns, offsets), shape=(len(offsets) - 1, n_columns), copy=True)
    made.sort_indices()
    return made
