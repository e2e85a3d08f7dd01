"""How popular items are at each place of a history: newcomers take other things than those who have been around."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.interactions import Interactions

WINDOWS = ((0, 3), (1, 6), (3, 10), (5, 15), (10, 25), (0, 40), (0, None))
_WEIGHT = 500  # interactions that an item's overall share counts for in a window


def popularity_by_place(train: Interactions, n_items: int) -> NDArray[np.float32]:
    """Log shares of the items among training interactions at some places of users' histories.

    `log((count_w + 500 share) / (all_w + 500))` for each window w of places, where `share` is the item's among all
    interactions (with one more for each item, so that none is zero): what a window doesn't tell, the whole does.

    Args:
        train: the training part.
        n_items: of the catalogue.

    Returns:
        `(items + 1, windows)` float32, each column with mean 0 over the items; the last row is an item that training
        doesn't know: where its own begins, with the mean of the items' shares.
    """
    place = np.arange(len(train)) - np.repeat(train.offsets[:-1], train.lengths)
    share = (np.bincount(train.items, minlength=n_items) + 1) / (len(train) + n_items)
    columns: list[NDArray[Any]] = []
    for start, stop in WINDOWS:
        inside = (place >= start) & (place < (len(train) if stop is None else stop))
        counts = np.bincount(train.items[inside], minlength=n_items)
        columns.append(np.log((counts + _WEIGHT * share) / (counts.sum() + _WEIGHT)))
    table = np.stack(columns, 1)
    table -= table.mean(0)
    new = np.log(np.exp(table).mean(0, keepdims=True))
    return np.concatenate([table, new]).astype(np.float32)
