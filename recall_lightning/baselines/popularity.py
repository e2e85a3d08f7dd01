"""Popularity: everyone gets what most trained-on users took."""

import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule


class Popularity(Contender):
    """Scores an item by its count of training interactions."""

    name = "popularity"

    def fit(self, data: RecallDataModule) -> None:
        self.counts = torch.from_numpy(data.counts).float()

    def score(self, batch: EvalBatch) -> Tensor:
        return self.counts.expand(len(batch.users), -1).clone()
