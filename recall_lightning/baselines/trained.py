"""Trained: a checkpoint as a contender."""

import hashlib
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from recall_lightning.baselines.base import Contender, last_of
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.tokens import tokenize
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.modules.loading import load_module


class Trained(Contender):
    """A checkpoint's model, as it is; one that was meta-trained adapts to each user.

    Args:
        path: the checkpoint.

    Raises:
        InputError: if it can't be read.
    """

    serves_new_items = True
    counts_interactions = False

    def __init__(self, path: str) -> None:
        self.module = load_module(path)
        self.path = path
        self.name = f"{'meta-trained' if self.module.is_meta else 'trained'} ({os.path.relpath(Path(path))})"
        super().__init__()

    @property
    def identity(self) -> dict[str, Any]:
        with open(self.path, "rb") as file:
            return {"checkpoint": hashlib.file_digest(file, "sha256").hexdigest()}

    def check(self, data: RecallDataModule) -> None:
        """Refuse data that the model can't be judged by.

        Raises:
            InputError: if the catalogue is another, or the training part, so that it may have seen what it is asked.
        """
        assert self.module.background is not None
        self.module.background.check(data, self.path)

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Encode the catalogue, its texts as the model was trained with them; nothing is learned."""
        own, model = self.module.background, self.module.model
        assert own is not None
        self.tokens = tokenize(
            own.catalogue.texts, own.tokenizer, max_tokens=own.max_text_tokens, cache_dir=data.cache_dir
        )
        digest = weights_digest(model.encoder)
        model.cache.vectors.copy_(kept_vectors(lambda: model.encoder, digest, self.tokens, data.cache_dir))
        self.module.item_vectors = model.catalogue_vectors()

    def score(self, batch: EvalBatch) -> Tensor:
        assert self.module.background is not None
        batch.history = last_of(batch.history, self.module.background.max_history)
        if self.module.background.history_tokens is not None:
            joined = self.tokens.joined(batch.history.numpy(), max_tokens=self.module.background.history_tokens)
            batch.history_tokens = joined
        users = self.module.user_vectors(batch)
        scores = self.module.loss.similarity(users, self.module.item_vectors)
        if added := self.module.added(users, batch):
            scores = scores + added(slice(None))
        nobody = (batch.history < 0).all(1)  # of whom nothing is known: they get what `recommend` gives them
        scores[nobody] = self.module.background.counts.to(scores.dtype)
        return scores
