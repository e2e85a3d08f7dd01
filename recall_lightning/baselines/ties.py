"""Ties of scores, broken by popularity."""

import torch
from torch import Tensor

GAP = 2.0**-25  # of a float32's size: less than half of what tells it from its neighbours
SMALLEST = 2.0**-160  # less than any float32 but 0


def by_popularity(scores: Tensor, counts: Tensor) -> Tensor:
    """Put equally scored items in the order of their training interactions, and leave every other order as it is.

    `s'_i = s_i + p_i (2^-25 |s_i| + 2^-160)`, `p_i = n_i / (1 + max n)`: two different float32 numbers differ by at
    least 2^-24 of the larger, and float64 has room for the term. All items of an empty history score 0, so that they
    come by popularity.

    Args:
        scores: `(batch, items)` finite float32.
        counts: `(items,)` int64 training interactions of each item.

    Returns:
        `(batch, items)` float64.
    """
    share = counts.double() / (1 + counts.max())
    exact = scores.double()
    return torch.addcmul(exact, exact.abs().mul_(GAP).add_(SMALLEST), share)
