"""EpochLines: a line an epoch, where there is no terminal to draw a progress bar in."""

import sys
import time

import lightning as L
from lightning.pytorch.callbacks import Callback


class EpochLines(Callback):
    """Writes loss and validation metrics of each epoch to stderr, if that is a file or a pipe."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._started = time.perf_counter()  # an epoch that is gone on with inside doesn't start again

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if sys.stderr.isatty() or not trainer.is_global_zero:
            return
        shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
        measured = [
            f"{name} {value:.4f}"
            for name, value in shown.items()
            if name.startswith(("val/recall", "val/ndcg", "val/loss", "val/mlm", "val/contrastive"))
            and not name.endswith("@alpha")
        ]
        seconds = time.perf_counter() - self._started
        parts = [f"loss {shown['train/loss']:.3f}", *measured, f"{seconds:.0f} s"]
        sys.stderr.write(f"epoch {trainer.current_epoch}: {', '.join(parts)}\n")
