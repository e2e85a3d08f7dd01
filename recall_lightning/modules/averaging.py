"""Which of Lightning's callbacks may average the weights."""

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn

from recall_lightning.errors import InputError


def check_averaging(trainer: L.Trainer) -> None:
    """Refuse callbacks that would average what is no weight, or keep what is no average.

    Args:
        trainer: in whichever stage; only one that fits is looked at.

    Raises:
        InputError: if a callback can't average the weights.
    """
    if trainer.state.fn != TrainerFn.FITTING:
        return
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # there, once the Trainer is made
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, StochasticWeightAveraging):
            raise InputError(
                f"trainer.callbacks: {name} copies a module before it has weights. Take EMAWeightAveraging, or "
                "WeightAveraging, with use_buffers: false"
            )
        if not isinstance(callback, WeightAveraging):
            continue
        if callback._use_buffers:
            raise InputError(
                f"trainer.callbacks: {name} would average buffers, too, and rows of items have no mean. Give it "
                "use_buffers: false"
            )
        if isinstance(trainer.strategy, (ModelParallelStrategy, FSDPStrategy, DeepSpeedStrategy)):
            raise InputError(
                f"trainer.callbacks: {name} can't average layers that processes share. Leave it out, or give "
                "--trainer.strategy ddp"
            )
        if any(isinstance(other, ModelCheckpoint) and other.save_weights_only for other in callbacks):
            raise InputError(
                f"trainer.callbacks: {name} averages weights, but with save_weights_only Lightning keeps those that "
                "aren't averaged. Give the checkpoint save_weights_only: false"
            )
