"""Selecting: a list out of a ranking, item by item, each choice depending on those before."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

POOL = 200  # items of a ranking that diversity chooses among
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Quotas:
    """At most so many items of a value in one list.

    Attributes:
        values: `(items, most)` int64, the values that each item has, -1 pads.
        limits: `(values,)` int64, how many items of each value a list may hold.
    """

    values: Tensor
    limits: Tensor


@dataclass(frozen=True)
class Diversity:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    `MMR = argmax_(i in R - S) [ lambda Sim1(i, u) - (1 - lambda) max_(j in S) Sim2(i, j) ]`, with R the best `POOL`
    items of the ranking, or k if that is more, and S those that are chosen already. Sim1 is the score, brought to 0 to
    1 over R, since scores have no bounds of their own. Sim2 is the cosine of the item vectors, but 0 for less than
    that, and for an empty S: so what an item adds never rises as the list grows, and a list's values descend.

    Attributes:
        weight: lambda; 1 leaves the ranking as it is.
        units: `(items, dim)` float of length 1.
    """

    weight: float
    units: Tensor

    @classmethod
    def of(cls, weight: float, vectors: Tensor) -> "Diversity":
        """Of item vectors `(items, dim)` of any length."""
        return cls(weight, F.normalize(vectors.float(), dim=-1))


def select(
    scores: Tensor, rows: Tensor, k: int, *, quotas: Quotas | None = None, diversity: Diversity | None = None
) -> tuple[Tensor, Tensor]:
    """Choose k items one after the other: each time the best of those that no quota forbids.

    The best is the one of the highest score, or with diversity of the highest marginal relevance; of equal ones the
    first of the ranking. Where quotas forbid all that is left of diversity's R, the list goes on down the ranking by
    score, as if what is there were like something chosen (Sim2 is 1).

    Args:
        scores: `(users, depth)` float, descending.
        rows: `(users, depth)` int64 items, -1 where a ranking ends.
        k: length of a list, at least 1.
        quotas: None for none.
        diversity: None for none.

    Returns:
        `(users, k)` float, what each item was chosen by, descending, and `(users, k)` int64 items; -inf and -1 where
        no item is left that a quota allows.
    """
    width = max(1, 0 if quotas is None else quotas.values.shape[1])
    if diversity is not None:
        width = max(width, diversity.units.shape[1])
    at_once = max(1, _NUMBERS_AT_ONCE // (rows.shape[1] * width))
    parts = [
        _select(some, items, k, quotas, diversity)
        for some, items in zip(torch.split(scores, at_once), torch.split(rows, at_once), strict=True)
    ]
    chosen, items = zip(*parts, strict=True)
    return torch.cat(chosen), torch.cat(items)


def can_go_on(chosen: Tensor, quotas: Quotas, allowed: Tensor | None = None) -> Tensor:
    """`(users,)` bool: for which users some item, chosen or not, is one that quotas would still allow in their list.

    Args:
        chosen: `(users, k)` int64 items of their lists, -1 where there is none.
        quotas: that the lists are kept within.
        allowed: `(items,)` bool, the only ones that can be recommended; None for all.
    """
    values = F.pad(quotas.values, (0, 1), value=-1)  # (items, most + 1)
    found = []
    for some in torch.split(chosen, max(1, _NUMBERS_AT_ONCE // values.numel())):
        taken = values[some.clamp(min=0)].masked_fill((some < 0)[..., None], -1).flatten(1)
        left = quotas.limits.repeat(len(some), 1).scatter_add(1, taken.clamp(min=0), -(taken >= 0).long())
        spent = (left <= 0)[:, values.clamp(min=0)] & (values >= 0)  # (users, items, most + 1)
        free = ~spent.any(-1)  # (users, items)
        found.append((free if allowed is None else free & allowed).any(-1))
    return torch.cat(found)


def _select(
    scores: Tensor, rows: Tensor, k: int, quotas: Quotas | None, diversity: Diversity | None
) -> tuple[Tensor, Tensor]:
    users = torch.arange(len(rows), device=rows.device)
    items, forbidden = rows.clamp(min=0), rows < 0
    relevance = alike = units = None
    if diversity is not None:
        pool = min(max(POOL, k), rows.shape[1])
        relevance = _zero_to_one(scores, ~forbidden, pool)
        alike = torch.ones_like(relevance)
        alike[:, :pool] = 0
        units = diversity.units[items[:, :pool]]  # (users, pool, dim)
    if quotas is not None:
        of_item = F.pad(quotas.values, (0, 1), value=-1)[items]  # (users, depth, most + 1)
        left = quotas.limits.repeat(len(rows), 1)  # (users, values)
    found = scores.new_full((len(rows), k), -torch.inf)
    chosen = rows.new_full((len(rows), k), -1)
    for place in range(min(k, rows.shape[1])):
        value = scores
        if relevance is not None and alike is not None and diversity is not None:
            value = diversity.weight * relevance - (1 - diversity.weight) * alike
        value = value.masked_fill(forbidden, -torch.inf)
        best = value.argmax(1)  # the first of equal ones
        found[:, place] = value[users, best]
        able = found[:, place] > -torch.inf
        chosen[:, place] = torch.where(able, rows[users, best], -1)
        forbidden[users, best] = True
        if alike is not None and units is not None:
            pool = units.shape[1]
            inside = (able & (best < pool)).to(units.dtype)[:, None]
            cosines = (units @ units[users, best.clamp(max=pool - 1), :, None])[..., 0].clamp(max=1) * inside
            alike[:, :pool] = torch.maximum(alike[:, :pool], cosines)
        if quotas is not None:
            taken = of_item[users, best]  # (users, most + 1)
            left.scatter_add_(1, taken.clamp(min=0), -((taken >= 0) & able[:, None]).long())
            spent = (left <= 0).gather(1, of_item.flatten(1).clamp(min=0)).view_as(of_item)
            forbidden |= (spent & (of_item >= 0)).any(-1)
    return found, chosen


def _zero_to_one(scores: Tensor, present: Tensor, pool: int) -> Tensor:
    """Scores such that the best of a ranking is 1 and the worst of its first `pool` is 0; below it they go on."""
    inside = present[:, :pool]
    low = scores[:, :pool].masked_fill(~inside, torch.inf).amin(1, keepdim=True)
    span = scores[:, :1] - low
    return torch.where(present, (scores - low) / torch.where(span > 0, span, 1), 0)
