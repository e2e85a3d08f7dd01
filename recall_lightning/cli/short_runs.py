"""Short runs of `fit`, by which settings are chosen."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from recall_lightning.auto import Settings
from recall_lightning.callbacks.heap import HeapTrim
from recall_lightning.cli.flags import as_flags
from recall_lightning.errors import InputError

if TYPE_CHECKING:
    from recall_lightning.cli.trainer import RecallCLI

TIMED = 8  # steps, by which an epoch is judged


class ShortRuns:
    """Runs a program with other settings for a while, without a word and without leaving a file.

    Args:
        given: the command `fit` and its flags.
        parse: makes a program of flags, without running it.
        n_sequences: to train on.

    Attributes:
        n_batches: an epoch, of the last run.
    """

    def __init__(self, given: list[str], parse: Callable[[list[str]], "RecallCLI"], n_sequences: int) -> None:
        self.given, self.parse, self.n_sequences = given, parse, n_sequences
        self.n_batches = 1

    def trained(self, settings: Settings, epochs: int, share: float) -> tuple[float, float]:
        """The best validation metric of so many epochs of a share of their batches; and seconds of a whole epoch.

        Raises:
            InputError: if there was no validation.
            ValueError: if a setting doesn't fit the others.
        """
        share = min(1.0, max(share, 1.01 / self.n_batches))
        with tempfile.TemporaryDirectory() as folder:
            quiet = {"checkpoint.dirpath": folder, "trainer.max_epochs": epochs, "early_stopping.patience": 2}
            trainer, seconds = self._fitted(settings, quiet, share, kept=(ModelCheckpoint, EarlyStopping, HeapTrim))
            best = trainer.checkpoint_callback
            if not isinstance(best, ModelCheckpoint) or best.best_model_score is None:
                raise InputError(
                    "auto.minutes: a short run came to no validation. Leave trainer.fast_dev_run, limit_val_batches, "
                    "check_val_every_n_epoch and checkpoint.save_top_k as they are by default"
                )
            return float(best.best_model_score), seconds / max(trainer.current_epoch, 1) / share

    def judged(self, settings: Settings) -> float:
        """Seconds of an epoch's steps, by a few of them; this makes the text vectors, too, which others find kept."""
        clock = _Clock()
        quiet = {"trainer.max_epochs": 1, "trainer.limit_val_batches": 0}
        self._fitted(settings, quiet, TIMED, more=[clock])
        steps = clock.steps[1:] or clock.steps  # the first warms up
        return self.n_batches * sum(steps) / max(len(steps), 1)

    def _fitted(
        self, settings: Settings, quiet: Settings, batches: int | float, *, kept: tuple[type, ...] = (),
        more: Sequence[Callback] = (),
    ) -> tuple[Trainer, float]:  # fmt: skip
        """The Trainer of a run with settings, after so many batches an epoch (or a share of them), and its seconds."""
        silent: dict[str, Any] = {
            "trainer.logger": False, "trainer.enable_progress_bar": False, "auto.minutes": None,
            "model.encoder.compile": False,  # which takes longer than they do
        }  # fmt: skip
        if batches != 1.0:
            silent["trainer.limit_train_batches"] = batches
        program = self.parse([*self.given, *as_flags({**settings, **silent, **quiet})])
        trainer: Trainer = program.trainer
        callbacks = [each for each in trainer.callbacks if isinstance(each, kept)]  # type: ignore[attr-defined]
        trainer.callbacks = [*callbacks, *more]  # type: ignore[attr-defined]
        self.n_batches = -(-self.n_sequences // program.datamodule.batch_size)
        began = time.monotonic()
        with _silent("recall_lightning", "lightning.pytorch"):
            trainer.fit(program.model, program.datamodule)
        return trainer, time.monotonic() - began


class _Clock(Callback):
    """Seconds of each step, what waits for its batch included."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.steps.append(time.monotonic() - self.last)
        self.last = time.monotonic()


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """No words but warnings of these loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
