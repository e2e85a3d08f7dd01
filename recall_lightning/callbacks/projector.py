"""ItemSpace: the item vectors in TensorBoard's projector."""

import lightning as L
from lightning.pytorch.callbacks import Callback

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.modules.recall import RecallModule


class ItemSpace(Callback):
    """Writes the item vectors, with titles, when training ends.

    Args:
        items: at most so many, the most popular ones of the training: the projector holds no more in a browser.
    """

    def __init__(self, items: int = 5000) -> None:
        self.items = items

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, RecallModule)
        writer = writer_of(trainer)
        if writer is None or not hasattr(module, "item_vectors"):
            return
        data = module.data
        rows = (-data.counts).argsort(kind="stable")[: self.items]
        metadata = [[" ".join(data.catalogue.titles[row].split()), str(data.counts[row])] for row in rows]
        vectors = module.model.without_prior(module.item_vectors)
        writer.add_embedding(
            vectors[rows].cpu(), metadata=metadata, metadata_header=["title", "interactions"],
            global_step=trainer.global_step, tag="items",
        )  # fmt: skip
