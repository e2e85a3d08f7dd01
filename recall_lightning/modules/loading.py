"""Checkpoints of either method."""

from pathlib import Path
from typing import Any

from recall_lightning.modules.checkpoint import read_checkpoint
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.recall import RecallModule


def kind_of(checkpoint: dict[str, Any]) -> type[RecallModule]:
    """The class that a checkpoint, already read, is of."""
    return MAMLRecallModule if "inner_loop" in checkpoint["hyper_parameters"] else RecallModule


def load_module(path: str | Path, map_location: Any = "cpu") -> RecallModule:
    """The module that a checkpoint is of: a `RecallModule`, or a `MAMLRecallModule` if it was meta-trained.

    Raises:
        InputError: if the file is missing, broken or no checkpoint of this package.
    """
    checkpoint = read_checkpoint(Path(path), map_location)
    return kind_of(checkpoint).restored(checkpoint, str(path))
