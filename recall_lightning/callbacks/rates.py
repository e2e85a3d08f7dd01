"""Rates: how fast it learns and how fast it goes."""

import time
from collections import Counter
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from recall_lightning.data.batches import TrainBatch
from recall_lightning.data.pretrain_datamodule import TextBatch
from recall_lightning.data.sampler import ResumableLoader
from recall_lightning.modules.recall import RecallModule


class Rates(Callback):
    """Logs learning rates, temperature, threshold, and the items, tokens and users (or texts and tokens) a second.

    Speeds are of this process, over the steps since the last log and the waiting for their batches, validation left
    out. Items are those encoded with gradient, and tokens are theirs without filling. `speed/data_wait_share` is the
    share of that time in which the step waited for its batch.
    """

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._waited_before = self._waited(trainer)
        self._reset()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: TrainBatch | TextBatch, batch_idx: int
    ) -> None:
        self._seconds += time.perf_counter() - self._started
        self._counts.update(batch.counts)
        if (trainer.global_step % trainer.log_every_n_steps) or not trainer.loggers:  # type: ignore[attr-defined]
            return
        waited = self._waited(trainer) - self._waited_before
        seconds = self._seconds + waited
        values = {f"speed/{name}_per_second": n / seconds for name, n in self._counts.items()}
        values["speed/data_wait_share"] = waited / seconds
        for group in trainer.optimizers[0].param_groups:
            values[f"lr/{group['name']}"] = group["lr"]
        if isinstance(module, RecallModule):
            values["train/temperature"] = float(module.loss.temperature.detach())
            alpha = getattr(module.loss, "alpha", None)
            if alpha is not None:
                values["train/alpha"] = float(alpha.detach())
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        self._waited_before += waited
        self._reset()

    def _waited(self, trainer: L.Trainer) -> float:
        """Seconds that were waited for batches so far."""
        loader = trainer.train_dataloader
        return loader.seconds_waited if isinstance(loader, ResumableLoader) else 0.0

    def _reset(self) -> None:
        self._seconds = 0.0
        self._counts: Counter[str] = Counter()
