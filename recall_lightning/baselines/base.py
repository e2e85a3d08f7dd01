"""What `compare` compares: anything that scores the catalogue for a batch of cases."""

from abc import ABC, abstractmethod

from torch import Tensor

from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule


class Contender(ABC):
    """A model in a comparison.

    Attributes:
        name: what the table calls it.
    """

    name: str

    @abstractmethod
    def fit(self, data: RecallDataModule) -> None:
        """Learn from the training part alone; choices among settings are made on the validation cases."""

    @abstractmethod
    def score(self, batch: EvalBatch) -> Tensor:
        """`(batch, items)` float scores of the whole catalogue; known items are set aside by the caller."""
