"""LastCheckpoint: what a run that was killed goes on from."""

import os
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from recall_lightning.errors import InputError

MOST_OF_TIME = 0.05  # is spent on writing it, but for the first and the last of a run
BATCHES = 10  # between looks at the clock, about which several processes have to agree


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt` beside the best checkpoint: at an epoch's end, and now and then inside a long one.

    Lightning's `save_last` writes it only where the best checkpoint is written, too.

    Args:
        minutes: at most so long after the one before, it is written inside an epoch; 0 for at epochs' ends alone, None
            for nowhere.

    Attributes:
        path: where this run has written it; None before.

    Raises:
        InputError: if `minutes` is below 0.
    """

    def __init__(self, minutes: float | None = 10.0) -> None:
        if minutes is not None and not minutes >= 0:
            raise InputError(
                f"last.minutes is {minutes}: give a number above 0, or 0 for at epochs' ends alone, or null for none"
            )
        self.minutes = minutes
        self.path: str | None = None
        self.written = -float("inf")  # when, by `time.monotonic`
        self.seconds = 0.0  # that writing took

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.began = time.monotonic()
        self._looked = 0  # at the clock, after so many batches of the epoch, which may be gone on with inside

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._looked = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if not self.minutes or done - self._looked < BATCHES:
            return
        # gradients that are gathered for a step are no part of a checkpoint, and a run that goes on from before a
        # validation takes it for done
        if done % trainer.accumulate_grad_batches or _validates(trainer, batch_idx):
            return
        self._looked = done
        wait = max(60 * self.minutes, self.seconds / MOST_OF_TIME)
        self._write_after(wait, trainer, time.monotonic() - max(self.written, self.began))

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        steps = 0 < trainer.max_steps <= trainer.global_step
        ends = trainer.should_stop or steps or trainer.current_epoch + 1 == trainer.max_epochs
        self._write_after(0 if ends else self.seconds / MOST_OF_TIME, trainer, time.monotonic() - self.written)

    def _write_after(self, seconds: float, trainer: L.Trainer, passed: float) -> None:
        best = trainer.checkpoint_callback
        rehearsal = trainer.fast_dev_run  # type: ignore[attr-defined]  # set by a function beside the class
        if self.minutes is None or rehearsal or not isinstance(best, ModelCheckpoint) or not best.dirpath:
            return
        if not trainer.strategy.broadcast(passed >= seconds):
            return
        began = time.monotonic()
        self.path = os.path.join(best.dirpath, "last.ckpt")  # which may be an address
        trainer.save_checkpoint(self.path, weights_only=False)  # with all that training goes on by
        self.written = time.monotonic()
        self.seconds = self.written - began


def _validates(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether a validation follows a batch."""
    every = trainer.val_check_batch  # batches of an epoch, or of all
    of_all = trainer.check_val_every_n_epoch is None
    done = (trainer.fit_loop.epoch_loop.total_batch_idx if of_all else batch_idx) + 1
    return trainer.is_last_batch or (every is not None and done % every == 0)
