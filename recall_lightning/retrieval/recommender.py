"""Recommender: a checkpoint put to use."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import InteractionLog, Interactions, group_by_user
from recall_lightning.data.ragged import Ints, pad, spans
from recall_lightning.data.readers.tabular import read_interactions, read_items
from recall_lightning.data.tokens import Tokens, tokenize
from recall_lightning.errors import InputError
from recall_lightning.models.scoring import top_k
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.recall import RecallModule
from recall_lightning.retrieval.recommendations import Recommendations, table_of

Histories = str | Path | InteractionLog | Mapping[str, Sequence[str]]
Threshold = float | Literal["auto"] | None


class Recommender:
    """Recommends items of a catalogue by users' histories, and finds similar items.

    Args:
        module: a trained module.
        device: where to compute, `cpu` or such as `cuda:0`.
    """

    def __init__(self, module: RecallModule, device: str = "cpu") -> None:
        assert module.background is not None
        self.background = module.background
        self.module = module.eval().to(device)
        self.device = torch.device(device)
        self.trained: Catalogue = self.background.catalogue
        self.use_items(self.trained)

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: str | None = None) -> Self:
        """Load a checkpoint; nothing else is needed.

        Args:
            path: the checkpoint.
            device: where to compute; by default a GPU if there is one.

        Raises:
            InputError: if the file is missing, broken or of another program.
        """
        return cls(RecallModule.load_from_checkpoint(path), device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def use_items(self, items: Catalogue | str | Path) -> None:
        """Rank these items instead of those of the training.

        Items that training never saw are encoded from their texts and rank beside the others. Items of the training
        that are not among these are not ranked any more, but still describe users whose histories hold them.

        Args:
            items: a catalogue, or the file of one with the columns of the training's text template.

        Raises:
            InputError: if the file can't be used.
        """
        if not isinstance(items, Catalogue):
            items = read_items(items, self.trained.template)
        only_trained = [row for row, item in enumerate(self.trained.ids) if items.row(item) < 0]
        self.pool = Catalogue(
            items.ids + [self.trained.ids[row] for row in only_trained],
            items.texts + [self.trained.texts[row] for row in only_trained],
            items.titles + [self.trained.titles[row] for row in only_trained],
            self.trained.template,
        )
        self.n_ranked = len(items)
        trained_rows = torch.tensor([self.trained.row(item) for item in self.pool.ids], device=self.device)
        self.tokens: Tokens = tokenize(
            self.pool.texts, self.background.tokenizer, max_tokens=self.background.max_text_tokens
        )
        with torch.inference_mode():
            texts = encode_texts(self.module.model.encoder, self.tokens, self.device)
            self.vectors: Tensor = self.module.model.item_tower(texts, trained_rows)  # (pool, dim)
            counts = self.background.counts.to(self.device)
            self.popularity = torch.where(trained_rows >= 0, counts[trained_rows.clamp(min=0)], 0).float()

    def recommend(
        self,
        histories: Histories,
        *,
        k: int = 50,
        candidates: Iterable[str] | None = None,
        include_known: bool = False,
        threshold: Threshold = None,
    ) -> Recommendations:
        """The k best items for every user.

        Args:
            histories: item ids by user, oldest first; or a log, or a file of one. Users need not be known; items that
                are described nowhere are skipped and counted.
            k: items a user; fewer where candidates run out.
            candidates: ids of the only items to rank; None for all.
            include_known: whether items of a user's own history may be recommended.
            threshold: of the k items, those alone whose score is at least this; `auto` for the alpha that the model's
                last validation chose. A user may then get none, and one without history, who has no score, does.

        Raises:
            InputError: if k is below 1, a file can't be used, no candidate is in the catalogue, or the threshold is no
                number or not to be had.
        """
        batch = self.prepare(histories)
        tables = list(self.stream(batch, k=k, candidates=candidates, include_known=include_known, threshold=threshold))
        return Recommendations(pa.concat_tables(tables), batch.unknown_items, batch.without_history)

    def prepare(self, histories: Histories) -> "PreparedHistories":
        """Look up histories in the catalogue.

        Raises:
            InputError: if a file can't be used, or there is no user.
        """
        if isinstance(histories, (str, Path)):
            histories = read_interactions(histories)
        if isinstance(histories, Mapping):
            histories = _log_of(histories)
        if not histories.user_ids:
            raise InputError("histories: there is no user. Give one or more, each with the ids of items they met")
        known = np.array([self.pool.row(item) >= 0 for item in histories.item_ids], bool)[histories.items]
        grouped = group_by_user(histories.select(known), self.pool.ids, ties="row", shuffle_users=False)
        return PreparedHistories(grouped, int((~known).sum()))

    def stream(
        self,
        histories: "PreparedHistories",
        *,
        k: int,
        candidates: Iterable[str] | None = None,
        include_known: bool = False,
        threshold: Threshold = None,
        users_at_once: int = 1024,
    ) -> Iterator[pa.Table]:
        """The recommendations as tables of some users each, in bounded memory; arguments as of `recommend`."""
        if k < 1:
            raise InputError(f"k is {k}, but a list holds at least one item: give 1 or more")
        alpha = self.alpha(threshold)
        allowed = self._allowed(candidates)
        grouped = histories.interactions
        for first in range(0, grouped.n_users, users_at_once):
            offsets = grouped.offsets[first : first + users_at_once + 1]
            starts, stops = offsets[:-1], offsets[1:]
            known = torch.from_numpy(_rows(grouped.items, starts, stops)).to(self.device)
            users, empty = self._users(grouped.items, starts, stops)
            met = None if include_known else known
            with torch.inference_mode():
                scores, rows = top_k(
                    users, self.vectors, self.module.loss.similarity, k=k, known=met, candidates=allowed
                )
                if alpha is not None:
                    rows[(scores < alpha) | empty[:, None]] = -1
                elif empty.any():
                    scores[empty], rows[empty] = self._most_popular(int(empty.sum()), k, allowed)
            asked = grouped.user_ids[first : first + len(starts)]
            yield table_of(asked, self.pool.ids, rows.cpu().numpy(), scores.cpu().numpy())

    def alpha(self, threshold: Threshold) -> float | None:
        """The least score that is recommended; None for any.

        Raises:
            InputError: if the threshold is no number, or `auto` and the checkpoint holds none.
        """
        if threshold is None:
            return None
        if threshold == "auto":
            choice = self.module.threshold
            if choice.point is None:
                ((name, value),) = choice.config.constraint.items()
                raise InputError(
                    f"threshold auto: the checkpoint holds no alpha: it is of an older version, or saved before a "
                    f"validation found one by model.threshold.{name} {value:g}. Give a number, or train with another "
                    "constraint"
                )
            return choice.point.alpha
        if isinstance(threshold, str) or not math.isfinite(threshold):
            raise InputError(f"threshold is {threshold}: give a number such as 0.4, or auto")
        return float(threshold)

    def similar(self, *, item: str | None = None, text: str | None = None, k: int = 10) -> list[tuple[str, str, float]]:
        """The nearest items to an item, or to a text.

        Args:
            item: an id of the catalogue; itself it is left out.
            text: any text, such as a description.
            k: how many.

        Returns:
            `(item_id, title, score)`, nearest first.

        Raises:
            InputError: if not exactly one of item and text is given, the item is unknown, or k is below 1.
        """
        if (item is None) == (text is None):
            raise InputError("similar: give either an item's id or a text")
        if k < 1:
            raise InputError(f"k is {k}, but a list holds at least one item: give 1 or more")
        known = None
        if item is not None:
            row = self.pool.row(item)
            if row < 0:
                raise InputError(
                    f"item '{item}' is not in the catalogue of {len(self.pool)}. Check its id, or give --items"
                )
            vector, known = self.vectors[row : row + 1], torch.tensor([[row]], device=self.device)
        else:
            tokens = tokenize([text or ""], self.background.tokenizer, max_tokens=self.background.max_text_tokens)
            with torch.inference_mode():
                encoded = encode_texts(self.module.model.encoder, tokens, self.device)
                vector = self.module.model.item_tower(encoded, torch.tensor([-1], device=self.device))
        scores, rows = top_k(
            vector, self.vectors, self.module.loss.similarity, k=k, known=known, candidates=self._allowed(None)
        )
        found = [(r, s) for r, s in zip(rows[0].tolist(), scores[0].tolist(), strict=True) if r >= 0]
        return [(self.pool.ids[r], self.pool.titles[r], s) for r, s in found]

    def _users(self, items: Ints, starts: Ints, stops: Ints) -> tuple[Tensor, Tensor]:
        """User vectors `(users, dim)`, and which users have no history `(users,)` bool."""
        model = self.module.model
        recent = _rows(items, np.maximum(starts, stops - model.max_history), stops, left=True)
        with torch.inference_mode():
            if model.user_tower.reads_text:
                assert self.background.history_tokens is not None
                texts = self.tokens.joined(recent, max_tokens=self.background.history_tokens).to(self.device)
                users = model.users_of_texts(texts.ids, texts.mask)
            else:
                users = model.users(self.vectors, torch.from_numpy(recent).to(self.device))
        return users[:, -1], torch.from_numpy(stops == starts).to(self.device)

    def _allowed(self, candidates: Iterable[str] | None) -> Tensor | None:
        if candidates is None and self.n_ranked == len(self.pool):
            return None
        allowed = torch.zeros(len(self.pool), dtype=torch.bool)
        if candidates is None:
            allowed[: self.n_ranked] = True
        else:
            rows = [row for item in candidates if 0 <= (row := self.pool.row(item)) < self.n_ranked]
            if not rows:
                raise InputError("candidates: none of them is in the catalogue. Check their ids, or give --items")
            allowed[rows] = True
        return allowed.to(self.device)

    def _most_popular(self, n_users: int, k: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """What users get of whom nothing is known: the share of all training interactions is the score."""
        share = (self.popularity / self.popularity.sum().clamp(min=1)).clone()
        if allowed is not None:
            share[~allowed] = -torch.inf
        scores, rows = share.sort(descending=True, stable=True)
        filled = torch.full((n_users, k), -torch.inf, device=self.device)
        filled_rows = torch.full((n_users, k), -1, device=self.device)
        width = min(k, len(share))
        filled[:, :width] = scores[:width]
        filled_rows[:, :width] = torch.where(scores[:width] > -torch.inf, rows[:width], -1)
        return filled, filled_rows


@dataclass(frozen=True)
class PreparedHistories:
    """Histories looked up in a catalogue.

    Attributes:
        interactions: users in the order they came in, some perhaps without any item.
        unknown_items: interactions that were skipped.
    """

    interactions: Interactions
    unknown_items: int

    @property
    def without_history(self) -> int:
        """Users of whom no interaction is left."""
        return int((self.interactions.lengths == 0).sum())


def _rows(items: Ints, starts: Ints, stops: Ints, *, left: bool = False) -> Ints:
    return pad(items[spans(starts, stops)], stops - starts, fill=-1, left=left)


def _log_of(histories: Mapping[str, Sequence[str]]) -> InteractionLog:
    item_ids = list(dict.fromkeys(item for items in histories.values() for item in items))
    position = {item: i for i, item in enumerate(item_ids)}
    users = np.repeat(np.arange(len(histories)), [len(items) for items in histories.values()])
    items = np.array([position[item] for row in histories.values() for item in row], np.int64)
    return InteractionLog("histories", list(histories), item_ids, users, items)
