"""The TensorBoard writer of a run."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """The run's writer; None without a TensorBoard logger, and on every process but the first."""
    if not trainer.is_global_zero:
        return None
    logger = next((logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
    return logger.experiment if logger else None
