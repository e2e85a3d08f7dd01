"""What Lightning's callbacks need that keep averages of the weights."""

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy

from recall_lightning.errors import InputError


def check_averaging(trainer: L.Trainer) -> None:
    """Refuse callbacks that would average what is no weight, or keep averages of nothing.

    Args:
        trainer: about to fit.

    Raises:
        InputError: if a callback can't average the weights.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a list, once the Trainer is made
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
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise InputError(
                f"trainer.callbacks: {name} can't average layers that processes share. Leave it out, or take another "
                "strategy than ModelParallelStrategy"
            )
