"""SimilarityHistograms: are positives told apart from negatives?"""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.data.batches import EvalBatch
from recall_lightning.modules.recall import RecallModule


class SimilarityHistograms(Callback):
    """Histograms of validation users' similarities to what they took, and to the rest of the catalogue.

    Args:
        users: how many users, of the first batches.
        negatives: items drawn for each user.
    """

    def __init__(self, users: int = 512, negatives: int = 20) -> None:
        self.users, self.negatives = users, negatives

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._positive: list[Tensor] = []
        self._negative: list[Tensor] = []
        self._seen = 0

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: EvalBatch, *_: Any
    ) -> None:
        assert isinstance(module, RecallModule)
        if self._seen >= self.users or writer_of(trainer) is None:
            return
        users, items = module.user_vectors(batch), module.item_vectors
        generator = torch.Generator().manual_seed(self._seen)
        drawn = torch.randint(len(items), (len(users), self.negatives), generator=generator).to(users.device)
        similarity = module.loss.similarity
        present = batch.targets[:, 0] >= 0
        self._positive.append(similarity.pairs(users, items[batch.targets[:, 0].clamp(min=0)])[present])
        self._negative.append(similarity.pairs(users[:, None], items[drawn])[drawn != batch.targets[:, :1]])
        self._seen += len(users)

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        writer = writer_of(trainer)
        if writer is not None and self._positive:
            for name, values in [("positives", self._positive), ("negatives", self._negative)]:
                writer.add_histogram(f"similarity/{name}", torch.cat(values).float().cpu(), trainer.global_step)
