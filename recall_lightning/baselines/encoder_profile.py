"""EncoderProfile: the untouched encoder, a user being the mean of their last items' vectors."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from recall_lightning.baselines.base import Contender, last_of
from recall_lightning.baselines.text_vectors import encoder_digest, text_vectors
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions


class VectorProfile(Contender):
    """Scores an item by the cosine of its text vector to the mean of the (normalised) vectors of the newest items.

    Settings:
        last: newest items of a history that make the profile; None for all.
    """

    score_grid = {"last": (5, 1, 3, 10, 20, None)}  # noqa: RUF012
    serves_new_items = True
    vectors: Tensor  # `(items, dim)` float32 of length 1; `fit` sets it

    def score(self, batch: EvalBatch) -> Tensor:
        newest = last_of(batch.history, self.settings["last"])
        total = (self.vectors[newest.clamp(min=0)] * (newest >= 0)[..., None]).sum(1)  # normalised next, as the mean
        return F.normalize(total, dim=-1) @ self.vectors.T


class EncoderProfile(VectorProfile):
    """The data's encoder as it came, trained on none of the interactions.

    Args:
        encoder: folder of the data's encoder.
    """

    name = "untouched encoder"
    counts_interactions = False

    def __init__(self, encoder: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.encoder = encoder

    @property
    def identity(self) -> dict[str, Any]:
        return {"encoder": encoder_digest(self.encoder)}

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Encode the catalogue, once for all settings.

        Raises:
            InputError: if the encoder can't be read.
        """
        self.vectors = F.normalize(text_vectors(data), dim=-1)
