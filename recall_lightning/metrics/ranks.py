"""The places of the relevant items in a ranking of the whole catalogue."""

import torch
from torch import Tensor

FEW = 4  # relevant items, that are compared one by one
EXCLUDED = 2**62  # the rank of a relevant item that was no candidate: below every k, and + 2 doesn't overflow


@torch.no_grad()
def target_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Rank each user's relevant items among all candidates, ties against the model.

    `rank(t) = #{irrelevant i: s_i >= s_t} + #{relevant r: s_r > s_t, or s_r = s_t in an earlier column than t}`, so a
    model that scores all items alike gains nothing, while relevant items don't push one another out.

    Args:
        scores: `(users, items)` float; -inf marks an item that is no candidate.
        targets: `(users, relevant)` int64 columns of `scores`, `-1` pads; `(users,)` is one relevant item a user.

    Returns:
        `(users, relevant)` int64, 0 for the best place; `-1` where padded, and for an item named again in its row (it
        counts once, in its first column); `EXCLUDED` for a relevant item whose own score is -inf: it is relevant, but
        at no k a hit.

    Raises:
        ValueError: if a score is NaN, or the numbers of users differ.
    """
    targets = targets[:, None] if targets.ndim == 1 else targets
    if len(scores) != len(targets):
        raise ValueError(f"scores are of {len(scores)} users, targets of {len(targets)}: give both for the same users")
    if scores.numel() and scores.amax().isnan():
        raise ValueError("scores contain NaN: the weights have diverged. Train with a lower learning rate or clipping")
    relevant = (targets >= 0) & ~_named_before(targets)
    own = scores.gather(1, targets.clamp(min=0)).masked_fill(~relevant, -torch.inf)  # (users, relevant)
    places = own.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)  # among the relevant ones
    ranks = _count_at_least(scores, own) - _count_at_least(own, own) + places
    return ranks.masked_fill(own == -torch.inf, EXCLUDED).masked_fill(~relevant, -1)


def _named_before(targets: Tensor) -> Tensor:
    """`(users, relevant)` bool: whether an earlier column of the row holds the same value."""
    ordered, order = targets.sort(dim=-1, stable=True)
    repeated = torch.zeros_like(ordered, dtype=torch.bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.zeros_like(repeated).scatter(1, order, repeated)


def _count_at_least(scores: Tensor, thresholds: Tensor) -> Tensor:
    """`(users, thresholds)` int64: how many of a row's `(users, items)` scores reach each of its thresholds.

    One by one if they are few; else each score is sorted in between the sorted thresholds.
    """
    if 0 < thresholds.shape[1] <= FEW and scores.shape[1] <= 2**24:  # sums of so many ones are exact
        ones = torch.empty(scores.shape, device=scores.device)  # summing booleans takes twice as long
        return torch.stack([torch.ge(scores, each[:, None], out=ones).sum(1).long() for each in thresholds.T], 1)
    ordered, order = thresholds.sort(dim=-1)
    reached = torch.searchsorted(ordered, scores.contiguous(), right=True)  # (users, items): how many thresholds
    histogram = torch.zeros(len(scores), thresholds.shape[1] + 1, dtype=torch.int64, device=scores.device)
    histogram.scatter_add_(1, reached, torch.ones_like(reached))
    at_least = histogram.flip(-1).cumsum(-1).flip(-1)[:, 1:]
    return torch.zeros_like(order).scatter(1, order, at_least)
