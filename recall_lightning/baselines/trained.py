"""Trained: a checkpoint as a contender."""

import os
from pathlib import Path

import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.errors import InputError
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.recall import RecallModule


class Trained(Contender):
    """A checkpoint's model, as it is.

    Args:
        path: the checkpoint.

    Raises:
        InputError: if it can't be read.
    """

    def __init__(self, path: str) -> None:
        self.module = RecallModule.load_from_checkpoint(path)
        self.path = path
        self.name = f"fine-tuned ({os.path.relpath(Path(path))})"

    def fit(self, data: RecallDataModule) -> None:
        """Encode the catalogue; nothing is learned."""
        assert self.module.background is not None
        if self.module.background.catalogue.ids != data.catalogue.ids:
            raise InputError(f"{self.path}: trained on another catalogue than the config's. Compare on its own data")
        model = self.module.model
        model.cache.vectors.copy_(encode_texts(model.encoder, data.tokens, torch.device("cpu")))
        self.items = model.catalogue_vectors()

    def score(self, batch: EvalBatch) -> Tensor:
        self.module.item_vectors = self.items
        return self.module.loss.similarity(self.module.user_vectors(batch), self.items)
