"""Recommender: a checkpoint put to use."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.ragged import Ints
from recall_lightning.errors import InputError
from recall_lightning.models.top_k import RankedItems
from recall_lightning.modules.loading import load_module
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.recall import RecallModule
from recall_lightning.retrieval import back_ends
from recall_lightning.retrieval.adapting import Adapting
from recall_lightning.retrieval.approximate import Approximate
from recall_lightning.retrieval.explaining import Explaining, Explanation
from recall_lightning.retrieval.fusing import Fusing
from recall_lightning.retrieval.histories import Histories, PreparedHistories, prepared
from recall_lightning.retrieval.lists import Lists, ragged_rows
from recall_lightning.retrieval.pool import Added, Items, Pool, Pools, added, catalogue_of
from recall_lightning.retrieval.rails import Guard, Rails
from recall_lightning.retrieval.recommendations import Recommendations
from recall_lightning.retrieval.thresholds import Threshold, alpha_of


class Recommender:
    """Recommends items of a catalogue by users' histories, and finds similar items.

    Args:
        module: a trained module.
        device: where to compute, `cpu` or such as `cuda:0`.
        source: what the module is called in messages.
        encode_with: which of `retrieval.back_ends` encodes the catalogue, to a recall of its own (docs/results.md).
            Texts of users' histories and of `similar`, if any, are encoded in float32.
        cache_dir: where the catalogue's text vectors are kept, so that no text is encoded twice; None for nowhere.

    Raises:
        InputError: if there is no such back end, or it can't be used here.
    """

    def __init__(
        self, module: RecallModule, device: str = "cpu", source: str = "the model", *, encode_with: str = "float32",
        cache_dir: str | Path | None = None,
    ) -> None:  # fmt: skip
        assert module.background is not None
        self.source, self.encode_with = source, encode_with
        self.background = module.background
        self.module = module.eval().to(device)
        self.device = torch.device(device)
        back_ends.check(encode_with, self.device)
        self.trained: Catalogue = self.background.catalogue
        self._pools = Pools(self.module, self.device, encode_with=encode_with, cache_dir=cache_dir)
        self._take(self._pools.of(self.trained))

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: str | None = None, *, encode_with: str = "float32",
        cache_dir: str | Path | None = None,
    ) -> Self:  # fmt: skip
        """Load a checkpoint, meta-trained or not; nothing else is needed.

        Args:
            path: the checkpoint.
            device: where to compute; by default a GPU if there is one.
            encode_with: as of the class.
            cache_dir: as of the class.

        Raises:
            InputError: if the file is missing, broken or of another program; or as of the class.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        back_ends.check(encode_with, torch.device(device))
        with torch.inference_mode(False):  # in which the weights would be made such that no gradient goes through
            module = load_module(path)
        return cls(module, device, str(path), encode_with=encode_with, cache_dir=cache_dir)

    def use_items(self, items: Items) -> None:
        """Rank these items instead of those of the training.

        Items that training never saw are encoded from their texts and rank beside the others; a text that was encoded
        for the same item already is not read again. Items of the training that are not among these are not ranked any
        more, but still describe users whose histories hold them.

        Args:
            items: a catalogue, the file of one with the columns of the training's text template, or texts by item id.

        Raises:
            InputError: if the file can't be used, or an id or a text is empty.
        """
        self._take(self._pools.of(catalogue_of(items, self.trained.template), self._items))

    def add_items(self, items: Items) -> Added:
        """Rank these items, too: they can be recommended and found at once.

        Only new and changed texts are encoded; the vectors of all other items stay as they are, to the bit.

        Args:
            items: as of `use_items`; an item that is already there gets the new text.

        Raises:
            InputError: as of `use_items`.
        """
        given, before = catalogue_of(items, self.trained.template), self._items
        ranked = before.items.select(range(before.n_ranked))
        self._take(self._pools.of(ranked.updated(given), before))
        return added(before, self._items, given)

    def copy(self) -> Self:
        """A recommender of the same model and items, whose items can be changed while this one is at work."""
        return copy.copy(self)

    def _take(self, items: Pool) -> None:
        self._items = items
        self.pool, self.n_ranked, self.tokens, self.vectors = items.items, items.n_ranked, items.tokens, items.vectors
        self.ranked = RankedItems(self.vectors, self.module.loss.similarity)
        self._row_in_training = trained = items.row_in_training  # (pool,) of the training, -1 for others
        rows = (trained >= 0).nonzero()[:, 0]
        self.trained_rows = rows[trained[rows].argsort()]  # (trained,) of the pool
        counts = self.background.counts.to(self.device)
        self.popularity = torch.where(trained >= 0, counts[trained.clamp(min=0)], 0).float()

    def recommend(
        self,
        histories: Histories,
        *,
        k: int = 50,
        candidates: Iterable[str] | None = None,
        include_known: bool = False,
        threshold: Threshold = None,
        adapt: bool = False,
        adapt_candidates: int = 20_000,
        explain: bool | Literal["words"] = False,
        rails: Rails | None = None,
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
            adapt: whether a meta-trained model first adapts to each user's newest items. The model stays as it is; who
                has no history, or whose inner loop diverges, gets the unadapted answer.
            adapt_candidates: as of `adapting`.
            rails: what may be recommended, how often, and how unlike one another.
            explain: whether the table also tells why, as of `Explaining`; `words` for the words of texts, too.

        Raises:
            InputError: if k is below 1, a file can't be used, no candidate is in the catalogue, the threshold is no
                number or not to be had, or the model can't adapt.
        """
        adapting = self.adapting(adapt_candidates) if adapt else None
        batch = self.prepare(histories)
        tables = self.stream(
            batch, k=k, candidates=candidates, include_known=include_known, threshold=threshold, adapting=adapting,
            explaining=Explaining(self, words=explain == "words", adapting=adapting) if explain else None,
            guard=self.guard(rails) if rails else None,
        )  # fmt: skip
        table = pa.concat_tables(list(tables))
        diverged = adapting.diverged if adapting is not None else 0
        return Recommendations(table, batch.unknown_items, batch.without_history, diverged)

    def adapting(self, candidates: int = 20_000) -> Adapting:
        """What adapts to users, for `stream`.

        Args:
            candidates: most items of the training that a step tells a user's own apart from; of more, so many are
                drawn, always the same.

        Raises:
            InputError: if the model was not meta-trained, or candidates is below 1.
        """
        if not isinstance(self.module, MAMLRecallModule):
            raise InputError(
                f"{self.source}: the checkpoint was not meta-trained, so it can't adapt to users. Recommend without "
                "adapting, or give one that was trained with `method: maml`"
            )
        return Adapting(self.module, self.vectors, self.trained_rows, candidates=candidates)

    def guard(self, rails: Rails) -> Guard:
        """What keeps lists within rails, for `stream`.

        Raises:
            InputError: if no item is left, or the attributes lack a column.
        """
        vectors = self.module.model.without_prior(self.vectors)
        return Guard(rails, self.pool, vectors, self.popularity, float(self.module.loss.temperature))

    def prepare(self, histories: Histories) -> PreparedHistories:
        """Look up histories in the catalogue.

        Raises:
            InputError: if a file can't be used, or there is no user.
        """
        return prepared(histories, self.pool)

    def stream(
        self,
        histories: PreparedHistories,
        *,
        k: int,
        candidates: Iterable[str] | None = None,
        include_known: bool = False,
        threshold: Threshold = None,
        adapting: Adapting | None = None,
        fusing: Fusing | None = None,
        explaining: Explaining | None = None,
        guard: Guard | None = None,
        index: Approximate | None = None,
        done: Callable[[int], object] | None = None,
        users_at_once: int = 1024,
    ) -> Iterator[pa.Table]:
        """The recommendations as tables of some users each, in bounded memory.

        Arguments are those of `recommend`; `adapting` is what `self.adapting` gives, to adapt to users, and counts.
        `fusing` brings in another channel, which knows the training's items and no others; scores are then the fused
        ones, of all items but the known, whichever of them are candidates. `explaining` adds columns; it knows the
        model's scores alone. `guard` is what `self.guard` gives; `threshold` is held against scores before it chooses.
        `index` finds items in place of looking at each; whom it finds too few for is searched for exactly. It can't be
        fused with, nor take a popularity penalty. `done` is told of how many users each table is, some of whom may have
        got nothing.
        """
        if k < 1:
            raise InputError(f"k is {k}, but a list holds at least one item: give 1 or more")
        alpha = self.alpha(threshold)
        allowed = self.allowed(candidates) if guard is None else guard.among(self.allowed(candidates))
        if fusing is not None:
            users_at_once = min(users_at_once, fusing.users_at_once)
        lists = Lists(
            self, k, allowed, include_known=include_known, alpha=alpha, adapting=adapting, fusing=fusing,
            explaining=explaining, guard=guard, index=index,
        )  # fmt: skip
        yield from lists.tables(histories.interactions, users_at_once, done)

    def explain(
        self, history: Sequence[str], item: str, *, words: bool = False, adapting: Adapting | None = None
    ) -> Explanation:
        """Why an item scores as it does for a user.

        Args:
            history: item ids, oldest first; those that are described nowhere are skipped.
            item: an id, of whatever item, recommended or not.
            words: whether the words of its text are weighed.
            adapting: as of `stream`.

        Raises:
            InputError: if the item, or every item of the history, is unknown.
        """
        grouped, row = self.prepare({"": history}).interactions, self.pool.row(item)
        if row < 0 or not len(grouped):
            what = f"item '{item}' is in no" if row < 0 else "explain: no item of the history is in a"
            raise InputError(f"{what} catalogue. Check the ids, or give --items")
        recent = self.newest(grouped.items, grouped.offsets[:-1], grouped.offsets[1:])
        return Explaining(self, words=words, adapting=adapting).one(recent, row)

    def alpha(self, threshold: Threshold) -> float | None:
        """The least score that is recommended; None for any.

        Raises:
            InputError: if the threshold is no number, or `auto` and the checkpoint holds none.
        """
        return alpha_of(threshold, self.module.threshold)

    def allowed(self, candidates: Iterable[str] | None) -> Tensor | None:
        """Which items may be ranked, `(items,)` bool; None for all.

        Raises:
            InputError: if no candidate is in the catalogue.
        """
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
            vector = self._pools.of_text(text or "")
        alike = self.module.model.as_users(vector)
        scores, rows = self.ranked.top_k(alike, k, known=known, candidates=self.allowed(None))
        found = [(r, s) for r, s in zip(rows[0].tolist(), scores[0].tolist(), strict=True) if r >= 0]
        return [(self.pool.ids[r], self.pool.titles[r], s) for r, s in found]

    def user_vectors(self, recent: Tensor) -> Tensor:
        """Users, not adapted to, as vectors.

        Args:
            recent: `(users, history)` int64 rows of the pool that the tower sees, newest in the last column, -1 at the
                left where there is none.

        Returns:
            `(users, dim)` float.
        """
        model = self.module.model
        with torch.inference_mode():
            if model.user_tower.reads_text:
                assert self.background.history_tokens is not None
                texts = self.tokens.joined(recent.cpu().numpy(), max_tokens=self.background.history_tokens)
                users = model.users_of_texts(texts.ids.to(self.device), texts.mask.to(self.device))[:, -1]
            elif isinstance(self.module, MAMLRecallModule):
                users = self.module.adaptation.start(self.vectors, recent)
            else:
                users = model.users(self.vectors, recent)[:, -1]
        return users

    def newest(self, items: Ints, starts: Ints, stops: Ints) -> Tensor:
        """What the user tower sees of histories: `recent` of `user_vectors`.

        Args:
            items: `(interactions,)` int64 rows of the pool.
            starts: `(users,)` int64 where each user's history begins in `items`.
            stops: `(users,)` int64 where it ends.
        """
        first = np.maximum(starts, stops - self.module.model.max_history)
        return ragged_rows(items, first, stops, left=True).to(self.device)

    def in_training(self, rows: Tensor) -> Tensor:
        """Rows of the pool, of any shape, as rows of the training's items; -1 for others, and where there is none."""
        return torch.where(rows >= 0, self._row_in_training[rows.clamp(min=0)], -1)

    def added(self, users: Tensor, recent: Tensor) -> Callable[[slice], Tensor] | None:
        """What the model adds to the scores of the pool."""
        return self.module.model.bonus(users, self.in_training(recent), self._row_in_training)
