"""Each user's best items of a catalogue."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from recall_lightning.models.keys import Keys, rows_of, values_of
from recall_lightning.models.scoring import SCORES_AT_ONCE, at_least_float32, factors, score_chunks, set_aside
from recall_lightning.models.screen import AT_LEAST, FEWEST_USERS, Screen, longest, screens
from recall_lightning.models.selection import best_columns
from recall_lightning.models.similarity import Similarity
from recall_lightning.models.sweep import BLOCK, CrowdedError, sweep

USERS_AT_ONCE = 1024  # of a sweep
_LARGEST = 1e37  # product of norms, at which no sum overflows


class RankedItems:
    """Items made ready to be ranked for many batches of users.

    On a CPU, scores of float32 are made and looked through in blocks of `BLOCK` items by `USERS_AT_ONCE` users, 32 MiB,
    and take a few times as much memory, whatever the catalogue (`sweep`). Of a large catalogue they are screened first,
    where the processor has units for products of bfloat16 (`screen`), which takes half the vectors' memory once. The
    ranking is by scores in float32 all the same. On other devices, of float64, with a similarity that isn't a mere
    inner product, and with `added` or `rescored`, whole rows of scores are made, `scores_at_once` or one row at least.

    Args:
        items: `(items, dim)` float.
        similarity: gives the scores.
    """

    @torch.no_grad()
    def __init__(self, items: Tensor, similarity: Similarity) -> None:
        self.items, self.similarity = at_least_float32(items), similarity
        inner = type(similarity).product is Similarity.product
        self._sweeps = inner and len(items) > 0 and items.device.type == "cpu" and self.items.dtype == torch.float32
        if self._sweeps:
            self._right = factors(self.items[:0], self.items, similarity)[1]  # (items, width)
            self._longest = longest(self._right)
            self._screen = Screen(self._right, self._longest) if len(items) >= AT_LEAST and screens() else None

    @torch.no_grad()
    def top_k(
        self,
        users: Tensor,
        k: int,
        *,
        added: Callable[[slice], Tensor] | None = None,
        known: Tensor | None = None,
        candidates: Tensor | None = None,
        rescored: Callable[[slice, Tensor], Tensor] | None = None,
        scores_at_once: int = SCORES_AT_ONCE,
    ) -> tuple[Tensor, Tensor]:
        """Find each user's k best items: exact, by score descending, equal scores by lower catalogue row.

        Args:
            users: `(users, dim)` float.
            k: items a user; may exceed the catalogue.
            added: as in `score_chunks`.
            known: as in `score_chunks`.
            candidates: as in `score_chunks`.
            rescored: gives the scores to rank by, of a slice of `users` and their `(users in slice, items)` scores;
                known items are set aside before, and items that are no candidates after, so that no score depends on
                these.
            scores_at_once: as in `score_chunks`; a sweep cuts rows, too.

        Returns:
            `(users, k)` float scores and `(users, k)` int64 rows of the items; -inf and `-1` where candidates run out.

        Raises:
            ValueError: if k is below 1, or a score is NaN.
        """
        if k < 1:
            raise ValueError(f"k is {k}, but a list holds at least one item: give k of 1 or more, such as 10")
        users = at_least_float32(users)
        best = users.new_full((len(users), k), -torch.inf)
        rows = torch.full((len(users), k), -1, dtype=torch.int64, device=users.device)
        if self._sweeps and added is None and rescored is None and users.dtype == torch.float32:
            left = factors(users, self.items[:0], self.similarity)[0]
            if longest(left) * self._longest < _LARGEST:  # and no NaN
                self._sweep(left, best, rows, known, candidates, scores_at_once)
                return best, rows
        width = min(k, len(self.items))
        chunks = score_chunks(
            users, self.items, self.similarity, added=added, known=known, scores_at_once=scores_at_once
        )
        for chunk, scores in chunks:
            scores = scores if rescored is None else rescored(chunk, scores)
            set_aside(scores, candidates=candidates)
            best[chunk, :width], rows[chunk, :width] = best_columns(scores, width)
        return best, rows.masked_fill_(best == -torch.inf, -1)

    def _sweep(
        self, left: Tensor, best: Tensor, rows: Tensor, known: Tensor | None, candidates: Tensor | None, at_once: int
    ) -> None:
        """Write each user's best scores and rows, both `(users, k)`."""
        block = max(1, min(BLOCK, at_once))
        step = max(1, min(USERS_AT_ONCE, at_once // block))
        for first in range(0, len(left), step):
            part = slice(first, first + step)
            with torch.autocast("cpu", enabled=False):
                keys = self._keys(left[part], best.shape[1], None if known is None else known[part], candidates, block)
            best[part, : keys.shape[1]] = torch.from_numpy(values_of(keys))
            rows[part, : keys.shape[1]] = torch.from_numpy(rows_of(keys))

    def _keys(self, left: Tensor, k: int, known: Tensor | None, candidates: Tensor | None, block: int) -> Keys:
        if self._screen is not None and len(left) >= FEWEST_USERS:
            with suppress(CrowdedError):  # then it is no help
                return self._screen.keys(left, k, known=known, candidates=candidates, block=block)
        return sweep(left, self._right, k, known=known, candidates=candidates, block=block)


def top_k(users: Tensor, items: Tensor, similarity: Similarity, k: int, **options: Any) -> tuple[Tensor, Tensor]:
    """As `RankedItems.top_k`, of items that are ranked once."""
    return RankedItems(items, similarity).top_k(users, k, **options)
