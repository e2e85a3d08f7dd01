"""What users get of whom nothing is known."""

import torch
from torch import Tensor


def most_popular(counts: Tensor, k: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """The k items with most interactions; the share of all interactions is the score.

    Args:
        counts: `(items,)` float.
        k: may exceed the items.
        allowed: `(items,)` bool, which items may be offered; None for all.

    Returns:
        `(k,)` float scores and `(k,)` int64 rows, equal scores by lower row; -inf and -1 where items run out.
    """
    share = (counts / counts.sum().clamp(min=1)).clone()
    if allowed is not None:
        share[~allowed] = -torch.inf
    scores, rows = share.sort(descending=True, stable=True)
    width = min(k, len(share))
    filled = torch.full((k,), -torch.inf, device=counts.device)
    filled_rows = torch.full((k,), -1, device=counts.device)
    filled[:width] = scores[:width]
    filled_rows[:width] = torch.where(scores[:width] > -torch.inf, rows[:width], -1)
    return filled, filled_rows
