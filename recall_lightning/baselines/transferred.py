"""Transferred: a checkpoint of another data set as a contender, by text alone."""

import os
from pathlib import Path

import torch
from torch import Tensor

from recall_lightning.baselines.base import last_of
from recall_lightning.baselines.trained import Trained
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.tokens import tokenize
from recall_lightning.errors import InputError
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.modules.spelling import words_of


class Transferred(Trained):
    """A model that was trained on other data, as it is: every item is one that it never saw, known by its text.

    Transitions, which know their own items alone, add nothing. Who has no history gets this data's most popular items.

    Settings:
        last: newest items of a history that the user tower reads; None for all that it was trained to read. Chosen by
            the data's own validation, as profiles of text choose theirs.

    Args:
        path: the checkpoint.

    Raises:
        InputError: if it can't be read, or its items are known by more than vectors of their own texts.
    """

    score_grid = {"last": (None, 1, 3, 5, 10, 20)}  # noqa: RUF012

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if self.module.is_meta or self.module.model.user_tower.reads_text:
            raise InputError(
                f"{path}: only a `method: recall` model whose user tower reads item vectors can be asked about other "
                "data. Give another checkpoint"
            )
        self.name = f"transferred ({os.path.relpath(Path(path))})"

    def check(self, data: RecallDataModule) -> None:
        """Nothing of other data can have been seen.

        Raises:
            InputError: if items of the data were trained on.
        """
        assert self.module.background is not None
        if shared := set(self.module.background.catalogue.texts) & set(data.catalogue.texts):
            raise InputError(
                f"{self.path}: trained on {len(shared):,} of these items' texts, such as {min(shared)!r}, so this "
                "is no other data. Give it by --ckpt on the data that it was trained with"
            )

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Encode the data's catalogue; nothing is learned."""
        own, model = self.module.background, self.module.model
        assert own is not None
        tokens = tokenize(data.catalogue.texts, own.tokenizer, max_tokens=own.max_text_tokens, cache_dir=data.cache_dir)
        texts = kept_vectors(lambda: model.encoder, weights_digest(model.encoder), tokens, data.cache_dir)
        with torch.no_grad():
            self.items: Tensor = model.item_tower(texts, torch.full((len(texts),), -1), words_of(model, tokens))
        self.counts = torch.from_numpy(data.counts)

    @torch.no_grad()
    def score(self, batch: EvalBatch) -> Tensor:
        history = last_of(last_of(batch.history, self.module.model.max_history), self.settings["last"])
        users = self.module.model.users(self.items, history)[:, -1]
        scores = self.module.loss.similarity(users, self.items)
        nobody = (history < 0).all(1)
        scores[nobody] = self.counts.to(scores.dtype)
        return scores
