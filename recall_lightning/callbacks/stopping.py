"""Stopping: early stopping that waits for the first validation, and can be gone on after."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason


class Stopping(EarlyStopping):
    """Lightning's early stopping, but for two things.

    Training that ends before it has validated once ends well. Lightning's own fails there for want of its metric: with
    `max_steps` within the first epoch, or `limit_val_batches: 0`. Once a validation has logged, a metric that is not
    among those is an error as ever.

    A run that goes on has the patience that it is given, and not that of the checkpoint.
    """

    @property
    def state_key(self) -> str:
        """That of Lightning's own, whose checkpoints can be gone on with."""
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logged = trainer.callback_metrics
        if self.monitor in logged or any(name.startswith("val/") for name in logged):
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        given = self.patience
        super().load_state_dict(state_dict)
        self.patience = given

    @property
    def ended(self) -> bool:
        """Whether what it saw so far ends a run: epochs without a gain, a threshold, or a metric that isn't finite."""
        if self.stopping_reason in (EarlyStoppingReason.NOT_STOPPED, EarlyStoppingReason.PATIENCE_EXHAUSTED):
            return self.wait_count >= max(self.patience, 1)  # which may be another patience by now
        return True
