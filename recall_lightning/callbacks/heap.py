"""HeapTrim: memory that a run no longer uses goes back to the system."""

import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class HeapTrim(Callback):
    """Gives the gaps of glibc's heap back, now and then.

    Batches differ in shape, so that what one leaves seldom fits the next: the gaps stay with the process, and add up to
    gigabytes in a long run on a CPU. Does nothing where the C library has no `malloc_trim` (musl, or no Linux at all).

    Args:
        seconds: at least so long between two times.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim: Callable[[int], int] | None = getattr(library, "malloc_trim", None)
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self._now_and_then()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._now_and_then()

    def _now_and_then(self) -> None:
        if self._trim is not None and time.monotonic() - self._last >= self.seconds:
            self._trim(0)
            self._last = time.monotonic()
