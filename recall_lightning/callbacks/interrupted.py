"""Interrupted: a stopped run can be gone on with."""

import os
import sys

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class Interrupted(Callback):
    """Keeps `interrupted.ckpt` beside the best checkpoint when training is stopped by Ctrl-C or SIGTERM.

    Lightning's own `save_on_exception` would write over the best checkpoint where its name is fixed.
    """

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        best = trainer.checkpoint_callback
        stopped = isinstance(exception, (KeyboardInterrupt, SIGTERMException))
        if not (stopped and trainer.training and isinstance(best, ModelCheckpoint) and best.dirpath):
            return
        path = os.path.join(best.dirpath, "interrupted.ckpt")  # which may be an address
        trainer.save_checkpoint(path, weights_only=False)  # with all that training goes on by
        if trainer.is_global_zero:
            sys.stderr.write(f"\nstopped; go on with --ckpt_path {os.path.relpath(path)}\n")
