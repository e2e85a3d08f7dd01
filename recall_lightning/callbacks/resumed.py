"""Resumed: a run that is gone on with ends as it would have without the break."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from recall_lightning.callbacks.stopping import Stopping
from recall_lightning.whole import written_whole

log = logging.getLogger(__name__)


class Resumed(Callback):
    """Takes the best checkpoints so far along, and knows when a run had stopped early.

    A run that goes on has a folder of its own, and Lightning would look there alone for the best checkpoint: one of the
    epochs before the break would be lost. It would also train an epoch more than one that early stopping had ended.
    """

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        best = trainer.checkpoint_callback
        if not trainer.training or not isinstance(best, ModelCheckpoint) or not best.dirpath:
            return
        if "://" in str(best.dirpath):  # what isn't a file of this machine is Lightning's
            return
        state = checkpoint["callbacks"].get(best.state_key)
        if state is None:
            return
        former, here = Path(str(trainer.ckpt_path)).resolve().parent, Path(best.dirpath).resolve()
        names = [os.path.relpath(path, state["dirpath"]) for path in state["best_k_models"]]
        # the first process alone writes them: on other machines they needn't be
        if not trainer.strategy.broadcast(bool(names) and all((former / name).is_file() for name in names)):
            return  # Lightning tells that it begins to look for the best one anew
        if trainer.is_global_zero and former != here:
            for name in names:
                with (former / name).open("rb") as kept, written_whole(here / name) as file:
                    shutil.copyfileobj(kept, file)
            log.info("the best checkpoint so far, of %s, comes along", os.path.relpath(former))
        trainer.strategy.barrier()
        _move(state, Path(best.dirpath))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.ckpt_path:
            return
        for callback in trainer.early_stopping_callbacks:
            if isinstance(callback, Stopping) and callback.ended:
                trainer.should_stop = True
                log.info("early stopping had ended this run. To train on, give a higher --early_stopping.patience")


def _move(state: dict[str, Any], here: Path) -> None:
    """Have a `ModelCheckpoint`'s state speak of the same files in another folder."""

    def moved(path: str) -> str:
        return str(here / os.path.relpath(path, former)) if path else path

    former, state["dirpath"] = state["dirpath"], str(here)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])
    state["best_k_models"] = {moved(path): value for path, value in state["best_k_models"].items()}
