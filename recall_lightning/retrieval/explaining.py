"""Explaining: what of a score each item of a user's history is owed."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from recall_lightning.retrieval.words import Words

if TYPE_CHECKING:
    from recall_lightning.retrieval.adapting import Adapting
    from recall_lightning.retrieval.recommender import Recommender

_USERS_AT_ONCE, _HISTORIES_AT_ONCE = 128, 1024


@dataclass(frozen=True)
class Explanation:
    """Why one item scores as it does for one history.

    Attributes:
        score: the model's; the shares of all items and the rest add up to it.
        items: `(item_id, share)` of each item of the history that the model looks at, once, oldest first.
        rest: what is owed to no item of the history: a prior, the boost of new items, and where shares are drops,
            what several items do together.
        words: `(word, weight)` of the item's text, the weightiest first; empty if not asked for.
        exact: whether the score is a sum of the shares, rather than each the drop of the score without the item.
    """

    score: float
    items: list[tuple[str, float]]
    rest: float
    words: list[tuple[str, float]]
    exact: bool


class Explaining:
    """Shares scores out among the items of histories.

    Where the user's vector is a weighted mean of item vectors and the similarity a cosine or a dot product, the score
    is a sum over the history's items: with `u = sum_j w_j v_j`, item j is owed `w_j v_j.v_i / |u| |v_i|` of a cosine
    (of a dot product the numerator, and with a prior c times as much). Transitions and neighbours are shared out as of
    `Transitions.by_item`. Weights, |u| and c are taken as they are, though they depend on the history, too.

    For any other model an item's share is what the whole score loses where the history lacks it, so the rest may hold
    what several items do together. Older items, that the model doesn't look at, don't move up in its place. Of a
    history of one item, that one is owed all.

    Args:
        recommender: whose scores are explained.
        most: items, and words, that a row of the file names.
        words: whether the words of texts are weighed, too.
        adapting: what adapts to users, if anything does; it counts nothing of what is done here.
    """

    def __init__(
        self, recommender: "Recommender", *, most: int = 3, words: bool = False, adapting: "Adapting | None" = None
    ) -> None:
        self.most, self._of = most, recommender
        self._words = Words(recommender) if words else None
        # a copy, so that its count of users is of users alone
        self._vectors_of: Callable[[Tensor], Tensor] = copy.copy(adapting) or recommender.user_vectors
        self.exact = adapting is None and not recommender.module.is_meta and self._is_additive()

    def columns(self, recent: Tensor, rows: Tensor, scores: Tensor) -> Mapping[str, pa.Array]:
        """What a table of recommendations tells beside scores, a value for each of them.

        Args:
            recent: `(users, history)` int64 as of `Recommender.user_vectors`; without any for a user whose score is no
                model's.
            rows: `(users, k)` int64 rows of the pool that are recommended, -1 where there are no more.
            scores: `(users, k)` float.
        """
        present = (rows >= 0).cpu()
        shares, rest = (part.cpu()[present].numpy() for part in self.shares(recent, rows))
        nobody = (recent < 0).all(1).cpu()[:, None].expand_as(present)[present].numpy()
        rest = np.where(nobody, scores.float().cpu()[present].numpy(), rest)
        order = np.argsort(-shares, axis=1, kind="stable")[:, : self.most]  # (recommended, most)
        best = np.take_along_axis(shares, order, 1)
        whose = present.nonzero()[:, 0].numpy()
        items = recent.cpu().numpy()[whose[:, None], order]
        ids = self._of.pool.ids
        named = [[(ids[i], s) for i, s in zip(*pair, strict=True) if s > 0] for pair in zip(items, best, strict=True)]
        others = shares.sum(1) - np.where(best > 0, best, 0).sum(1)
        columns = {
            "because": _lists([[item for item, _ in row] for row in named], pa.string()),
            "because_scores": _lists([[score for _, score in row] for row in named], pa.float32()),
            "others_score": pa.array(others, pa.float32()),
            "rest_score": pa.array(rest, pa.float32()),
        }
        if self._words is not None:
            found = self._words(self._users(recent)[whose], rows[rows >= 0])
            found = [[] if no else weights[: self.most] for no, weights in zip(nobody, found, strict=True)]
            columns["words"] = _lists([[word for word, _ in row] for row in found], pa.string())
            columns["word_scores"] = _lists([[weight for _, weight in row] for row in found], pa.float32())
        return columns

    def one(self, recent: Tensor, row: int) -> Explanation:
        """Explain the score of one item for one history `(1, history)`, which must hold an item."""
        rows = torch.tensor([[row]], device=recent.device)
        shares, rest = (part[0, 0].cpu() for part in self.shares(recent, rows))
        owed = zip(recent[0].tolist(), shares.tolist(), strict=True)
        items = [(self._of.pool.ids[item], share) for item, share in owed if item >= 0]
        words = [] if self._words is None else self._words(self._users(recent), rows[0])[0]
        return Explanation(float(shares.sum() + rest), items, float(rest), words, self.exact)

    @torch.inference_mode()
    def shares(self, recent: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Share out the scores of some items.

        Args:
            recent: as of `columns`.
            rows: as of `columns`.

        Returns:
            `(users, k, history)` float, 0 where there is no item, and `(users, k)` float, what is owed to none of them.
        """
        share_out = self._exact if self.exact else self._drops
        parts = zip(torch.split(recent, _USERS_AT_ONCE), torch.split(rows, _USERS_AT_ONCE), strict=True)
        shares, rest = zip(*(share_out(some, asked) for some, asked in parts), strict=True)
        return torch.cat(shares), torch.cat(rest)

    def scores(self, users: Tensor, recent: Tensor, rows: Tensor) -> Tensor:
        """`(users, k)` float: what `recommend` ranks these items by; arguments as of `columns`."""
        similar = self._of.module.loss.similarity.pairs(users[:, None], self._items(rows))
        return similar + self._counted(users, recent, rows).sum(-1) + self._boost(rows)

    @torch.inference_mode()
    def _is_additive(self) -> bool:
        model, row = self._of.module.model, self._of.trained_rows[None, :1]
        return self._of.module.loss.similarity.additive and (
            model.user_tower.weights(self._of.vectors[row], row >= 0) is not None
        )

    def _exact(self, recent: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        present, similarity = recent >= 0, self._of.module.loss.similarity
        vectors = self._items(recent) * present[..., None]
        weights = self._of.module.model.user_tower.weights(vectors, present)
        assert weights is not None
        users, items = self._users(recent), self._items(rows)
        shares = similarity.shares(users, weights[:, -1, :, None] * vectors, items) * present[:, None]
        rest = similarity.pairs(users[:, None], items) - shares.sum(-1) + self._boost(rows)
        return shares + self._counted(users, recent, rows), rest

    def _drops(self, recent: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        score = self.scores(self._users(recent), recent, rows)  # (users, k)
        shares = score.new_zeros(*rows.shape, recent.shape[1])
        present = recent >= 0
        n_present = present.sum(1, keepdim=True)
        shares += (present & (n_present == 1))[:, None] * score[..., None]
        whose, places = (present & (n_present > 1)).nonzero(as_tuple=True)
        if not len(whose):
            return shares, score - shares.sum(-1)
        for some, place in zip(
            torch.split(whose, _HISTORIES_AT_ONCE), torch.split(places, _HISTORIES_AT_ONCE), strict=True
        ):
            without = recent[some].scatter(1, place[:, None], -1)
            without = without.gather(1, (without >= 0).byte().argsort(dim=-1, stable=True))  # moved up to the right
            shares[some, :, place] = score[some] - self.scores(self._users(without), without, rows[some])
        return shares, score - shares.sum(-1)

    def _users(self, recent: Tensor) -> Tensor:
        return self._vectors_of(recent).float()

    def _items(self, rows: Tensor) -> Tensor:
        return self._of.vectors[rows.clamp(min=0)].float()

    def _counted(self, users: Tensor, recent: Tensor, rows: Tensor) -> Tensor:
        """`(users, k, history)` float: transitions and neighbours."""
        model = self._of.module.model
        history, asked = (model.known_rows(self._of.in_training(part)) for part in (recent, rows))
        shares = users.new_zeros(*rows.shape, recent.shape[1])
        for part in model.counted.values():
            shares += part.by_item(users, history, asked)
        return shares

    def _boost(self, rows: Tensor) -> Tensor:
        model = self._of.module.model
        return model.new_boost * (model.known_rows(self._of.in_training(rows)) < 0)


def _lists(rows: list[list[object]], kind: pa.DataType) -> pa.Array:
    return pa.array(rows, pa.list_(kind))
