"""ItemSpace: the item vectors in TensorBoard's projector."""

import tempfile
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.utils.tensorboard import SummaryWriter

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.modules.recall import RecallModule
from recall_lightning.whole import written_whole


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
        with tempfile.TemporaryDirectory() as apart:
            with SummaryWriter(apart) as drawn:  # which writes in place
                drawn.add_embedding(
                    vectors[rows].cpu(), metadata=metadata, metadata_header=["title", "interactions"],
                    global_step=trainer.global_step, tag="items",
                )  # fmt: skip
            tables, (shown,) = sorted(Path(apart).rglob("*.tsv")), Path(apart).glob("*.pbtxt")
            for made in [*tables, shown]:  # what names them comes last
                with written_whole(Path(writer.log_dir) / made.relative_to(apart)) as file:
                    file.write(made.read_bytes())
