"""Screening: products of bfloat16 that prove which items can't be among the best.

Where a processor has matrix units for bfloat16 (AMX), such products take a seventh of the time of float32's. Rounded
vectors alone would rank wrongly, but their error has a bound, so that all but a few items are proven worse than k
others. Scores of those few are computed in float32 then, and the ranking is by these.

The bound. Write u and v for the vectors, c for the catalogue's mean, w = v - c (which shifts all scores of a user
alike, and makes those of the best positive), u' and w' for u and w rounded to bfloat16, n for their width. By Cauchy
and Schwarz

    |u'.w' - u.w| <= |u| |w' - w| + |u' - u| |w'|.

Summing in float32, in any order, adds at most n 2**-23 |u'| |w'|, and computing the score itself n 2**-23 |u| |v|.
Call the sum e; the largest norms of the catalogue make it one number a user. The product p is rounded, to a number a of
bfloat16, by 2**-8 of it at most. If k items have a >= t > 0, then their p is at least t (1 - 2**-8), the k-th best
score at least that minus e, the p of every item that scores as much at least that minus 2 e, and so its a at least
(t (1 - 2**-8) - 2 e)(1 - 2**-8).
"""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recall_lightning.models.keys import NONE, Keys, Values, keys_of, rows_of
from recall_lightning.models.sweep import BLOCK, Reach, sweep

AT_LEAST = 2**15  # items: of fewer, the best alone are too large a part
FEWEST_USERS = 128  # at a time: for fewer, rounding the catalogue isn't worth it
_BFLOAT16, _FLOAT32 = 2.0**-8, 2.0**-23  # of rounding, the second twice what it is
_SMALLEST = 2.0**-125  # of numbers, twice what it is: smaller ones may be taken for 0
_SLACK = 1.01  # for the rounding of norms, and
_UNDERFLOW = 2.0**-50  # for squares that are too small for float32, of less than 2**24 coordinates
_ITEMS = 2**14  # whose norms are taken at a time
_PARTS = 2**19  # numbers of the vectors that are scored at a time


class Screen:
    """A catalogue's vectors, rounded as late as they are needed, and how far off they are.

    Args:
        vectors: `(items, width)` float32 on a CPU, finite: inner products with them are the scores.
        longest: their largest norm.
    """

    def __init__(self, vectors: Tensor, longest: float) -> None:
        self.vectors, self.longest = vectors, longest

    @cached_property
    def _rounded(self) -> tuple[Tensor, float, float]:
        """`(items, width)` bfloat16 without the mean, the largest norm of them, and that of what was rounded off."""
        rounded = torch.empty_like(self.vectors, dtype=torch.bfloat16)
        centre = self.vectors.mean(0)
        norm = furthest = 0.0
        for first in range(0, len(rounded), _ITEMS):
            exact = self.vectors[first : first + _ITEMS] - centre
            kept = rounded[first : first + _ITEMS].copy_(exact)
            norm, furthest = max(norm, longest(kept)), max(furthest, longest(exact.sub_(kept)))
        return rounded, norm, furthest

    @torch.no_grad()
    def keys(
        self,
        users: Tensor,
        k: int,
        *,
        known: Tensor | None = None,
        candidates: Tensor | None = None,
        block: int = BLOCK,
    ) -> Keys:
        """As `sweep` of the exact scores.

        Args:
            users: `(users, width)` float32, finite.
            k: items a user.
            known: as of `sweep`.
            candidates: as of `sweep`.
            block: as of `sweep`.

        Raises:
            CrowdedError: if too many items are too near the best, or there are fewer than k.
        """
        vectors, norm, furthest = self._rounded
        rounded = users.bfloat16()
        norms, off = _norms(users), _norms(users - rounded)
        of_sums = users.shape[1] * _FLOAT32 * (norms + off) * (norm + self.longest)
        of_flushed = users.shape[1] * _SMALLEST * (norms + norm + 1)
        error = (norms * furthest + off * norm + of_sums + of_flushed).numpy()

        def least(kth: Values) -> Values:
            kept = (kth * (1 - _BFLOAT16) - 2 * error) * (1 - _BFLOAT16)  # float64
            return np.nextafter(kept.astype(np.float32), np.float32(-np.inf))

        near = sweep(
            rounded, vectors, k, known=known, candidates=candidates, reach=Reach(least, 4 * k + 256), block=block
        )
        rows = rows_of(near)
        keys = np.where(near == NONE, NONE, keys_of(self._scores(users, rows), rows))
        return np.sort(keys, axis=1)[:, :k]

    def _scores(self, users: Tensor, rows: Keys) -> Values:
        """Scores `(users, n)` of some items each, `-1` pads at the right; items of equal vectors have equal ones."""
        scores = torch.zeros(rows.shape)
        counts = (rows >= 0).sum(1)
        order = counts.argsort()  # users of about as many items together
        at_once = max(1, _PARTS // max(1, rows.shape[1] * users.shape[1]))
        memory = users.new_empty(at_once * rows.shape[1], users.shape[1])
        for first in range(0, len(users), at_once):
            some = order[first : first + at_once]
            items = torch.from_numpy(rows[some, : counts[some[-1]]].clip(min=0))
            taken = torch.index_select(self.vectors, 0, items.flatten(), out=memory[: items.numel()])
            products = taken.view(*items.shape, -1).mul_(users[some][:, None])
            scores[some, : items.shape[1]] = products.sum(-1)
        return scores.numpy()


def longest(vectors: Tensor) -> float:
    """At least the largest norm of `(n, width)` vectors; NaN if one holds NaN."""
    parts = [vectors[first : first + _ITEMS] for first in range(0, len(vectors), _ITEMS)]
    return float(torch.stack([_norms(part).amax() for part in parts]).amax()) if parts else 0.0


def _norms(vectors: Tensor) -> Tensor:
    """`(n,)` float64, each at least the norm of one of `(n, width)` vectors."""
    return torch.linalg.vector_norm(vectors.float(), dim=-1).double() * _SLACK + _UNDERFLOW


@cache
def screens() -> bool:
    """Whether this processor multiplies bfloat16 fast, and as the bound takes for granted: by sums in float32."""
    units: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if not units.get("amx_bf16", False):
        return False
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, 1000, generator=draw).bfloat16() for n in (128, 1024))
    exact = left.double() @ right.double().T
    of_sums = 1000 * _FLOAT32 * left.double().norm(dim=1)[:, None] * right.double().norm(dim=1)
    return bool(((left @ right.T).double() - exact).abs().le(of_sums + _BFLOAT16 * (exact.abs() + of_sums)).all())
