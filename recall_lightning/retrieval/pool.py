"""Pool: all items that are ranked or that histories may hold, each with its vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.ragged import Ints
from recall_lightning.data.readers.tabular import read_items
from recall_lightning.data.tokens import Tokens, concatenated, tokenize
from recall_lightning.errors import InputError
from recall_lightning.modules.encoding import Encoder, encode_texts
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.modules.recall import RecallModule
from recall_lightning.modules.spelling import words_of
from recall_lightning.retrieval.back_ends import BACK_ENDS

Items = Catalogue | Mapping[str, str] | str | Path


@dataclass(frozen=True)
class Pool:
    """Items with what the model makes of them. It never changes: other items make another pool.

    Attributes:
        items: those that are ranked, then those of the training that only describe users.
        n_ranked: how many are ranked.
        tokens: of the items' texts.
        row_in_training: `(pool,)` int64, -1 for items that training never saw.
        vectors: `(pool, dim)` float.
        encoded: `(encoded,)` int64 rows whose texts were encoded for it; the others' vectors an earlier pool had.
    """

    items: Catalogue
    n_ranked: int
    tokens: Tokens
    row_in_training: Tensor
    vectors: Tensor
    encoded: Ints


class Added(NamedTuple):
    """What came of adding items.

    Attributes:
        new: items that were not ranked before.
        changed: items whose text was another one.
        unchanged: items that were there with this text, to the token.
    """

    new: int
    changed: int
    unchanged: int


class Pools:
    """Makes pools of items.

    Args:
        module: a trained module, on `device`.
        device: where to compute.
        encode_with: which of `back_ends` encodes items' texts.
        cache_dir: where text vectors are kept, so that no text is encoded twice; None for nowhere.
    """

    def __init__(
        self, module: RecallModule, device: torch.device, *, encode_with: str = "float32",
        cache_dir: str | Path | None = None,
    ) -> None:  # fmt: skip
        assert module.background is not None
        self._model, self._background, self._device = module.model, module.background, device
        self._encode_with, self._cache_dir = encode_with, None if cache_dir is None else Path(cache_dir)

    def of(self, ranked: Catalogue, before: Pool | None = None) -> Pool:
        """A pool that ranks these items, and holds all others of the training.

        A text that an earlier pool holds for the same item, equal to the token, is not encoded again: its vector is
        taken as it is, to the bit.
        """
        trained = self._background.catalogue
        items = ranked.updated(trained.select([row for row, item in enumerate(trained.ids) if ranked.row(item) < 0]))
        in_training = torch.tensor([trained.row(item) for item in items.ids], device=self._device)
        if before is None:
            tokens = self.tokens(items.texts)
            vectors = self.vectors(tokens, in_training)
            return Pool(items, len(ranked), tokens, in_training, vectors, np.arange(len(items)))
        old, texts = [before.items.row(item) for item in items.ids], before.items.texts
        read = [row for row, at in enumerate(old) if at < 0 or texts[at] != items.texts[row]]
        source = np.array(old)
        source[read] = len(texts) + np.arange(len(read))
        tokens = concatenated(before.tokens, self.tokens([items.texts[row] for row in read])).select(source)
        anew = [row for row in read if old[row] < 0 or not np.array_equal(tokens.of(row), before.tokens.of(old[row]))]
        kept = np.setdiff1d(np.arange(len(items)), anew)
        vectors = before.vectors.new_empty(len(items), before.vectors.shape[1])
        vectors[self._rows(kept)] = before.vectors[self._rows(np.array(old)[kept])]
        if anew:
            vectors[anew] = self.vectors(tokens.select(np.array(anew)), in_training[anew])
        return Pool(items, len(ranked), tokens, in_training, vectors, np.array(anew, np.int64))

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Texts as the model reads them."""
        return tokenize(texts, self._background.tokenizer, max_tokens=self._background.max_text_tokens)

    @torch.inference_mode()
    def vectors(self, tokens: Tokens, in_training: Tensor) -> Tensor:
        """Items' vectors.

        Args:
            tokens: of the items' texts.
            in_training: `(items,)` int64 rows of the training, -1 for items that it never saw.

        Returns:
            `(items, dim)` float.
        """
        rows, words = self._model.known_rows(in_training), words_of(self._model, tokens)
        vectors: Tensor = self._model.item_tower(self._encoded(tokens), rows, words)
        return vectors

    @torch.inference_mode()
    def of_text(self, text: str) -> Tensor:
        """`(1, dim)`: the vector of an item that has this text, encoded in float32, and that training never saw."""
        tokens = self.tokens([text])
        encoded = encode_texts(self._model.encoder, tokens, self._device)
        new, words = torch.tensor([-1], device=self._device), words_of(self._model, tokens)
        vector: Tensor = self._model.item_tower(encoded, new, words)
        return vector

    def _encoded(self, tokens: Tokens) -> Tensor:
        """`(items, text_dim)` float32."""
        if self._cache_dir is None:
            return encode_texts(self._encoder, tokens, self._device)
        return kept_vectors(lambda: self._encoder, self._digest, tokens, self._cache_dir, self._device)

    @cached_property
    def _encoder(self) -> Encoder:
        """The back end, made once: some trace the whole encoder."""
        return BACK_ENDS[self._encode_with](self._model.encoder, self._device)

    @cached_property
    def _digest(self) -> str:
        return f"{weights_digest(self._model.encoder)} {self._encode_with} {self._device.type}"

    def _rows(self, rows: Ints) -> Tensor:
        return torch.from_numpy(rows).to(self._device)


def catalogue_of(items: Items, template: str) -> Catalogue:
    """Items as a catalogue.

    Args:
        items: a catalogue, the file of one with the columns of the template, or texts by item id, one or more.
        template: how a file's columns make a text.

    Raises:
        InputError: if the file can't be used, there is no item, or an id or a text is empty.
    """
    if isinstance(items, Catalogue):
        return items
    if not isinstance(items, Mapping):
        return read_items(items, template)
    if not items:
        raise InputError("items: there is none. Give one or more, each an id and its text")
    for item, text in items.items():
        if not item:
            raise InputError("items: an item's id is empty. Give it one")
        if not text.strip():
            raise InputError(f"items: item '{item}' has no text. Give it one, or leave it out")
    return Catalogue(list(items), list(items.values()), list(items.values()), template)


def added(before: Pool, after: Pool, given: Catalogue) -> Added:
    """What came of adding the items `given` to the pool `before`."""
    new = {item for item in given.ids if not 0 <= before.items.row(item) < before.n_ranked}
    anew = {after.items.ids[row] for row in after.encoded.tolist()}
    return Added(len(new), len(anew - new), len(given) - len(new | anew))
