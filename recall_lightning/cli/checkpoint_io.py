"""WholeCheckpoints: a checkpoint appears under its name when all of it is written."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from recall_lightning.whole import written_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and renames it.

    Lightning's own way moves it there from the system's folder for temporary files. Where that is another file system,
    moving is copying, and a run killed meanwhile leaves a checkpoint cut short in the place of a whole one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if storage_options is not None or "://" in str(path):  # what isn't a file of this machine is Lightning's
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with written_whole(Path(path)) as file:
            torch.save(checkpoint, file)
