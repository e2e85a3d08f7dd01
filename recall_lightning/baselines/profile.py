"""EncoderProfile: the untouched encoder, a user being the mean of their last items' vectors."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.evaluate import evaluate
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.user_tower import MeanTower
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.pretrained import load_model

GRID = (1, 3, 5, 10, 20)


class EncoderProfile(Contender):
    """Cosine of an item's text vector to the mean of the last n items' (normalised) vectors; n by validation.

    Args:
        path: folder of the encoder.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "untouched encoder"

    def fit(self, data: RecallDataModule) -> None:
        encoder = TextEncoder(load_model(self.path))
        self.vectors = F.normalize(encode_texts(encoder, data.tokens, torch.device("cpu")), dim=-1)
        recall = {}
        for last in GRID:
            self.tower = MeanTower(last)
            recall[last] = evaluate(self, data, "validation", [10])["recall@10"]
        best = max(recall, key=lambda last: recall[last])
        self.tower = MeanTower(best)
        self.name = f"untouched encoder (mean of the last {best})"

    def score(self, batch: EvalBatch) -> Tensor:
        present = batch.history >= 0
        users = self.tower(self.vectors[batch.history.clamp(min=0)] * present[..., None], present)[:, -1]
        return F.normalize(users, dim=-1) @ self.vectors.T
