"""LastCheckpoint: what a run that was killed goes on from."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from recall_lightning.errors import InputError

MOST_OF_TIME = 0.05  # is spent on writing it, where an epoch takes less than that many times as long as writing
BATCHES = 10  # between looks at the clock, about which several processes have to agree


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt` beside the best checkpoint: at an epoch's end, and now and then inside a long one.

    Lightning's `save_last` writes it only where the best checkpoint is written, too.

    Args:
        minutes: at most so long after the one before, it is written inside an epoch; 0 for at epochs' ends alone.

    Raises:
        InputError: if `minutes` is below 0.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        if not minutes >= 0:
            raise InputError(f"last.minutes is {minutes}: give a number above 0, or 0 for at the end of epochs alone")
        self.minutes = minutes
        self.written = -float("inf")  # when, by `time.monotonic`
        self.seconds = 0.0  # that writing took

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.began = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.minutes and (batch_idx + 1) % BATCHES == 0:
            self._write_after(60 * self.minutes, trainer, time.monotonic() - max(self.written, self.began))

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        steps = 0 < trainer.max_steps <= trainer.global_step
        ends = trainer.should_stop or steps or trainer.current_epoch + 1 == trainer.max_epochs
        self._write_after(0 if ends else self.seconds / MOST_OF_TIME, trainer, time.monotonic() - self.written)

    def _write_after(self, seconds: float, trainer: L.Trainer, passed: float) -> None:
        best = trainer.checkpoint_callback
        rehearsal = trainer.fast_dev_run  # type: ignore[attr-defined]  # set by a function beside the class
        if rehearsal or not isinstance(best, ModelCheckpoint) or not best.dirpath:
            return
        if not trainer.strategy.broadcast(passed >= seconds):
            return
        began = time.monotonic()
        trainer.save_checkpoint(Path(best.dirpath) / "last.ckpt")
        self.written = time.monotonic()
        self.seconds = self.written - began
