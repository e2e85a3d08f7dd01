"""Lists: ranked lists of many users, some users at a time, so that memory doesn't grow with them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, pad, spans
from recall_lightning.retrieval.adapting import Adapting
from recall_lightning.retrieval.approximate import Approximate
from recall_lightning.retrieval.explaining import Explaining
from recall_lightning.retrieval.fusing import Fusing
from recall_lightning.retrieval.popular import most_popular
from recall_lightning.retrieval.rails import Guard, Rescored
from recall_lightning.retrieval.recommendations import table_of

if TYPE_CHECKING:
    from recall_lightning.retrieval.recommender import Recommender


@dataclass(frozen=True)
class Lists:
    """What users' lists are made by, and of.

    Attributes:
        recommender: the model and its items.
        k: items a user.
        allowed: `(items,)` bool, which may be ranked; None for all.
        include_known: whether items of a user's own history may be.
        alpha: the least score; None for any.
        adapting, fusing, explaining, guard, index: as of `Recommender.stream`.
    """

    recommender: "Recommender"
    k: int
    allowed: Tensor | None
    include_known: bool = False
    alpha: float | None = None
    adapting: Adapting | None = None
    fusing: Fusing | None = None
    explaining: Explaining | None = None
    guard: Guard | None = None
    index: Approximate | None = None

    def tables(
        self, histories: Interactions, users_at_once: int, done: Callable[[int], object] | None = None
    ) -> Iterator[pa.Table]:
        """A table for each `users_at_once` users.

        Args:
            histories: of items of the recommender's pool.
            users_at_once: how many.
            done: is told of how many users each table is.
        """
        for first in range(0, histories.n_users, users_at_once):
            offsets = histories.offsets[first : first + users_at_once + 1]
            asked = histories.user_ids[first : first + len(offsets) - 1]
            rows, scores, why = self._of(asked, histories.items, offsets[:-1], offsets[1:])
            yield table_of(asked, self.recommender.pool.ids, rows.cpu().numpy(), scores.cpu().numpy(), why)
            if done is not None:
                done(len(asked))

    def _of(
        self, asked: list[str], items: Ints, starts: Ints, stops: Ints
    ) -> tuple[Tensor, Tensor, Mapping[str, pa.Array]]:
        """Rows and scores, `(users, k)` each, and the columns that explain them, of some users."""
        by = self.recommender
        recent, empty = by.newest(items, starts, stops), torch.from_numpy(stops == starts).to(by.device)
        users = by.user_vectors(recent) if self.adapting is None else self.adapting(recent)
        known = None if self.include_known else ragged_rows(items, starts, stops).to(by.device)
        rescored = None if self.fusing is None else self.fusing.of(asked, ragged_rows(items, starts, stops, left=True))
        rescored = rescored if self.guard is None else self.guard.rescored(rescored)
        if self.index is not None:
            self.index.check(by.vectors, rescored=rescored is not None)
        ranked = partial(self._ranked, users, recent, empty, known=known, rescored=rescored)
        scores, rows = ranked(self.k) if self.guard is None else self.guard.lists(ranked, self.k, self.allowed)
        return rows, scores, {} if self.explaining is None else self.explaining.columns(recent, rows, scores)

    @torch.inference_mode()
    def _ranked(
        self, users: Tensor, recent: Tensor, empty: Tensor, k: int, *, known: Tensor | None, rescored: Rescored | None
    ) -> tuple[Tensor, Tensor]:
        by, allowed = self.recommender, self.allowed
        if self.index is not None:
            scores, rows = self.index.top_k(users, k, known=known, candidates=allowed)
            short = (rows[:, -1] < 0).nonzero()[:, 0]  # lists are as long as the candidates allow
            if len(short):
                left = None if known is None else known[short]
                scores[short], rows[short] = by.ranked.top_k(users[short], k, known=left, candidates=allowed)
        else:
            added = by.added(users, recent)
            scores, rows = by.ranked.top_k(users, k, added=added, known=known, candidates=allowed, rescored=rescored)
        if self.alpha is not None:
            rows[(scores < self.alpha) | empty[:, None]] = -1
        elif empty.any():
            scores[empty], rows[empty] = most_popular(by.popularity, k, allowed)
        return scores, rows


def ragged_rows(items: Ints, starts: Ints, stops: Ints, *, left: bool = False) -> Tensor:
    """`(spans, longest)` int64: spans of flat items under one another, filled up with -1, at the left or the right."""
    return torch.from_numpy(pad(items[spans(starts, stops)], stops - starts, fill=-1, left=left))
