"""HeapTrim: memory that a run no longer uses goes back to the system."""

import ctypes
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class HeapTrim(Callback):
    """Gives the gaps of glibc's heap back, now and then.

    Batches differ in shape, so that what one leaves seldom fits the next, and the gaps stay with the process
    (docs/profiling.md). Does nothing where the C library has no `malloc_trim` (musl, or no Linux at all).

    Args:
        seconds: at least so long between two times, which come after a step of the training or a validation.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self._now_and_then()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._now_and_then()

    def _now_and_then(self) -> None:
        trim = malloc_trim()
        if trim is not None and time.monotonic() - self._last >= self.seconds:
            trim(0)
            self._last = time.monotonic()


@cache  # and not in the callback, which is pickled for processes that are spawned
def malloc_trim() -> Callable[[int], int] | None:
    """The C library's function; None where it has none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
