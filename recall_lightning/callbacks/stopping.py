"""Stopping: early stopping that waits for the first validation."""

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping


class Stopping(EarlyStopping):
    """Lightning's early stopping, but training that ends before it has validated once ends well.

    Lightning's own fails there for want of its metric: with `max_steps` within the first epoch, or
    `limit_val_batches: 0`. Once a validation has logged, a metric that is not among those is an error as ever.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if any(name.startswith("val/") for name in trainer.callback_metrics):
            super().on_train_epoch_end(trainer, pl_module)
