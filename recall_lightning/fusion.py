"""Fusion: one ranking of several channels' scores, which needn't be of one scale."""

from collections.abc import Callable

import torch
from torch import Tensor

RANK_OFFSET = 60  # of reciprocal ranks: how little the first place counts for more than the next


def fuse_scores(channels: list[Tensor], weights: list[float]) -> Tensor:
    """Weighted sum of each user's scores, put to mean 0 and deviation 1 first (Lee, SIGIR 1997, has other norms).

    `s_i = sum_c w_c (s_ci - mean_i s_ci) / std_i s_ci`, both over the user's candidates; a channel that scores them all
    alike says nothing.

    Args:
        channels: each `(users, items)` float, -inf at what is no candidate, alike in all.
        weights: one a channel.

    Returns:
        `(users, items)` float64, -inf at what is no candidate.
    """
    return _weighted(channels, weights, _standardised)


def fuse_ranks(channels: list[Tensor], weights: list[float]) -> Tensor:
    """Reciprocal rank fusion: `s_i = sum_c w_c / (60 + rank_ci)` (Cormack et al., SIGIR 2009), ranks from 1.

    Equal scores share the mean of their places.

    Args:
        channels: as of `fuse_scores`.
        weights: as of `fuse_scores`.

    Returns:
        As of `fuse_scores`.
    """
    return _weighted(channels, weights, _reciprocal_ranks)


WAYS = {"score": fuse_scores, "rank": fuse_ranks}


def _weighted(channels: list[Tensor], weights: list[float], normal: Callable[[Tensor], Tensor]) -> Tensor:
    total = torch.zeros_like(channels[0], dtype=torch.float64)
    for scores, weight in zip(channels, weights, strict=True):
        if weight:
            total += weight * normal(scores.double())
    return total.masked_fill_(channels[0] == -torch.inf, -torch.inf)


def _standardised(scores: Tensor) -> Tensor:
    candidate = scores != -torch.inf
    n = candidate.sum(-1, keepdim=True).clamp(min=1)
    centred = scores.masked_fill(~candidate, 0.0)
    centred = (centred - centred.sum(-1, keepdim=True) / n).masked_fill_(~candidate, 0.0)
    deviation = (centred.square().sum(-1, keepdim=True) / n).sqrt()
    return centred / deviation.masked_fill(deviation == 0, 1.0)


def _reciprocal_ranks(scores: Tensor) -> Tensor:
    ordered = (-scores).sort(dim=-1).values
    above = torch.searchsorted(ordered, -scores)  # how many score more
    upto = torch.searchsorted(ordered, -scores, right=True)  # and how many not less
    return 1 / (RANK_OFFSET + (above + 1 + upto).double() / 2)
