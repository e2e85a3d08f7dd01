"""Checkpoints of any method."""

from pathlib import Path
from typing import Any

from recall_lightning.modules.checkpoint import is_pretrained, read_checkpoint, refuse_pretrained
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.pretrain import PretrainModule
from recall_lightning.modules.recall import RecallModule


def kind_of(checkpoint: dict[str, Any]) -> type[RecallModule] | type[PretrainModule]:
    """The class that a checkpoint, already read, is of."""
    return PretrainModule if is_pretrained(checkpoint) else _ranking_kind(checkpoint)


def load_module(path: str | Path, map_location: Any = "cpu") -> RecallModule:
    """The module that a checkpoint is of: a `RecallModule`, or a `MAMLRecallModule` if it was meta-trained.

    Raises:
        InputError: if the file is missing, broken or no checkpoint of this package, or it is of an encoder alone.
    """
    checkpoint = read_checkpoint(Path(path), map_location)
    refuse_pretrained(checkpoint, str(path))
    return _ranking_kind(checkpoint).restored(checkpoint, str(path))


def _ranking_kind(checkpoint: dict[str, Any]) -> type[RecallModule]:
    return MAMLRecallModule if "inner_loop" in checkpoint["hyper_parameters"] else RecallModule
