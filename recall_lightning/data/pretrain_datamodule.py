"""PretrainDataModule: from files to batches of texts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from recall_lightning.data.batches import Batch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.ragged import Ints
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.splits import Splits
from recall_lightning.data.splits.base import drawn
from recall_lightning.data.tokens import TokenBatch, Tokens
from recall_lightning.errors import InputError

log = logging.getLogger(__name__)


@dataclass
class TextBatch(Batch):
    """Texts to pretrain on.

    Attributes:
        tokens: of the texts, by length.
        alike: `(texts,)` int64, the same number for texts of the same tokens.
        n_tokens: tokens, without filling.
    """

    tokens: TokenBatch
    alike: Tensor
    n_tokens: int

    @property
    def counts(self) -> dict[str, int]:
        """What a step's speed is told in."""
        return {"texts": len(self.alike), "tokens": self.n_tokens}


@dataclass(frozen=True)
class TextCollator:
    """Makes a `TextBatch`.

    Args:
        tokens: of the catalogue's texts.
        alike: `(items,)` int64, see `TextBatch`.
        rows: `(texts,)` int64 catalogue rows that the keys number.
    """

    tokens: Tokens
    alike: Ints
    rows: Ints

    def __call__(self, keys: Sequence[int] | Sequence[tuple[int, int]]) -> TextBatch:
        """Args:
        keys: of each text its place in `rows`, or the epoch and that.
        """
        places = np.array(keys, np.int64).reshape(len(keys), -1)[:, -1]
        chosen = self.rows[np.where(places < 0, ~places, places)]  # a text that stands in for none is seen once more
        lengths = self.tokens.lengths[chosen]
        order = np.argsort(lengths, kind="stable")
        rows = chosen[order]
        return TextBatch(self.tokens.batch(rows), torch.from_numpy(self.alike[rows]), int(lengths.sum()))


class PretrainDataModule(RecallDataModule):
    """Makes batches of the texts of those items that the split lets training know, some of them held for validation.

    Of the interactions nothing is used but what the split takes for held-out items (`new_items`).

    Args:
        reader: as of `RecallDataModule`, like all that isn't told here.
        text: template of an item's text.
        encoder: folder of the encoder, for its tokenizer.
        splits: whose held-out items stay unread.
        batch_size: texts a training step.
        eval_batch_size: texts a step of validation; each is told from the others of its batch.
        sort_by_length: whether a batch's texts are of about one length.
        validation_share: chance of a text to be held for validation, by a seeded hash of its item's id.
        more: what else `RecallDataModule` takes, such as the filters; what is about histories does nothing.
    """

    def __init__(
        self,
        reader: Reader,
        text: str,
        encoder: str,
        splits: Splits = Splits(),  # noqa: B008  # read, never changed
        batch_size: int = 64,
        eval_batch_size: int = 256,
        sort_by_length: bool = True,
        validation_share: float = 0.1,
        **more: Any,
    ) -> None:
        super().__init__(
            reader, text, encoder, splits, batch_size=batch_size, eval_batch_size=eval_batch_size,
            sort_by_length=sort_by_length, **more,
        )  # fmt: skip
        if not 0 < validation_share < 1:
            raise InputError(f"data.validation_share is {validation_share}: give more than 0 and less than 1")
        self.validation_share = validation_share
        self.hparams["validation_share"] = validation_share

    def setup(self, stage: str | None = None) -> None:
        """As of `RecallDataModule`, and the texts' two parts.

        Raises:
            InputError: also if one of them is empty.
        """
        if self._read:
            return
        super().setup(stage)
        self.alike = self.tokens.alike
        self.train_rows, self.val_rows = self._parts()
        share = self.validation_share
        if not len(self.train_rows):
            raise InputError(f"data.validation_share is {share}: no text is left to train on. Lower it")
        if not len(self.val_rows):
            raise InputError(f"data.validation_share is {share}: no text is held for validation. Raise it")
        log.info("%d texts to pretrain on, %d to validate", len(self.train_rows), len(self.val_rows))

    def _parts(self) -> tuple[Ints, Ints]:
        """Catalogue rows to train on and to validate; no text of the latter equals one of the former."""
        held = self.split.held_items
        allowed = np.ones(len(self.catalogue), bool) if held is None else ~held
        # by another seed than the split's, whose draw would hold the very items that `new_items` has held out
        _, validate = drawn(self.catalogue.ids, self.validation_share, self.seed + 1)
        train = np.flatnonzero(allowed & ~validate)
        kept = allowed & validate & ~np.isin(self.alike, self.alike[train])
        return train, np.flatnonzero(kept)

    def train_dataloader(self) -> DataLoader[object]:
        collate = TextCollator(self.tokens, self.alike, self.train_rows)
        return self._train_loader(collate, self.tokens.lengths[self.train_rows])

    def val_dataloader(self) -> DataLoader[object]:
        return self._eval_loader_of(TextCollator(self.tokens, self.alike, self.val_rows), self.val_rows)
