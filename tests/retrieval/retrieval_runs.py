"""A small trained checkpoint, to recommend by."""

import lightning as L
import torch

from recall_lightning import ItemTower, RecallDataModule, RecallModule, Tabular, TransformerTower
from recall_lightning.modules.encoder_config import EncoderConfig


def train(folder, tiny_encoder, **settings):
    """A module after three epochs on the typed tables, and its checkpoint."""
    torch.manual_seed(0)
    data = RecallDataModule(
        Tabular(str(folder / "interactions.csv"), str(folder / "items.csv")), "{title} ({year}). {genres}",
        str(tiny_encoder), max_history=3,
    )  # fmt: skip
    encoder = EncoderConfig(str(tiny_encoder))
    module = RecallModule(encoder, TransformerTower(1, 2), ItemTower(residual=True), **settings)
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "model.ckpt")
    return module, folder / "model.ckpt"
