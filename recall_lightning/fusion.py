"""Fusion: one ranking of several channels' scores, which needn't be of one scale."""

from collections.abc import Callable

import torch
from torch import Tensor

RANK_OFFSET = 60  # of reciprocal ranks: how little the first place counts for more than the next
Normal = Callable[[Tensor], Tensor]


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
    return weighted_sum([standardised(scores) for scores in channels], weights, channels[0] == -torch.inf)


def fuse_ranks(channels: list[Tensor], weights: list[float]) -> Tensor:
    """Reciprocal rank fusion: `s_i = sum_c w_c / (60 + rank_ci)` (Cormack et al., SIGIR 2009), ranks from 1.

    Equal scores share the mean of their places.

    Args:
        channels: as of `fuse_scores`.
        weights: as of `fuse_scores`.

    Returns:
        As of `fuse_scores`.
    """
    return weighted_sum([reciprocal_ranks(scores) for scores in channels], weights, channels[0] == -torch.inf)


WAYS = {"score": fuse_scores, "rank": fuse_ranks}


def weighted_sum(normals: list[Tensor], weights: list[float], excluded: Tensor) -> Tensor:
    """What both ways of fusing end with.

    Args:
        normals: each channel's `(users, items)` float64 on the common scale, finite.
        weights: one a channel; one of 0 says nothing.
        excluded: `(users, items)` bool, what is no candidate: it gets -inf.
    """
    total = torch.zeros_like(normals[0])
    for normal, weight in zip(normals, weights, strict=True):
        if weight:
            total += weight * normal
    return total.masked_fill_(excluded, -torch.inf)


def standardised(scores: Tensor) -> Tensor:
    """A channel's `(users, items)` scores at mean 0 and deviation 1 over each user's candidates, float64, others 0."""
    excluded = scores == -torch.inf
    n = (~excluded).sum(-1, keepdim=True).clamp(min=1)
    centred = scores.double().masked_fill(excluded, 0.0)
    centred = (centred - centred.sum(-1, keepdim=True) / n).masked_fill_(excluded, 0.0)
    deviation = (centred.square().sum(-1, keepdim=True) / n).sqrt()
    return centred / deviation.masked_fill(deviation == 0, 1.0)


def reciprocal_ranks(scores: Tensor) -> Tensor:
    """`1 / (60 + rank)` of a channel's `(users, items)` scores, float64; what is no candidate comes last."""
    ordered = (-scores.double()).sort(dim=-1).values
    above = torch.searchsorted(ordered, -scores.double())  # how many score more
    upto = torch.searchsorted(ordered, -scores.double(), right=True)  # and how many not less
    return 1 / (RANK_OFFSET + (above + 1 + upto).double() / 2)


NORMALS: dict[str, Normal] = {"score": standardised, "rank": reciprocal_ranks}  # by way, before weights
