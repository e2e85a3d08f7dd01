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
    counts = np.zeros((len(WINDOWS), n_items), np.int64)
    for block in train.blocks():
        part = block.part
        place = np.arange(len(part)) - np.repeat(part.offsets[:-1], part.lengths)
        for window, (start, stop) in enumerate(WINDOWS):
            inside = (place >= start) & (place < (len(part) if stop is None else stop))
            counts[window] += np.bincount(part.items[inside], minlength=n_items)
    share = (train.item_counts(n_items) + 1) / (len(train) + n_items)
    table: NDArray[Any] = np.stack([np.log((of + _WEIGHT * share) / (of.sum() + _WEIGHT)) for of in counts], 1)
    table -= table.mean(0)
    new = np.log(np.exp(table).mean(0, keepdims=True))
    return np.concatenate([table, new]).astype(np.float32)
