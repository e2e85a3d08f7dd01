"""BaseModule: what the modules of all methods have in common."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.models.sharding import average_whole_gradients, clip_norm
from recall_lightning.modules.checkpoint import read_checkpoint
from recall_lightning.modules.compiling import compile_layers
from recall_lightning.modules.encoder_config import EncoderConfig


class BaseModule(L.LightningModule):
    """A step's draws follow from its number, gradients are clipped under any precision, a checkpoint is enough to load.

    Attributes:
        seed: of the draws.
        model: whose `encoder` is trained.
        encoder_config: how.
    """

    seed: int
    model: Any  # which has an encoder
    encoder_config: EncoderConfig

    @property
    def data(self) -> RecallDataModule:
        """The data module that this module is trained or evaluated on."""
        data: RecallDataModule = self.trainer.datamodule  # type: ignore[attr-defined]  # set where one is given
        return data

    def on_fit_start(self) -> None:
        if self.encoder_config.compile and self.model.encoder.trained:
            compile_layers(self.model.encoder.model, self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # dropout then depends on the step alone: a resumed run draws what an unbroken one would have drawn
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1_009 + self.global_rank)

    @property
    def sharded(self) -> bool:
        """Whether processes hold a share of the encoder's layers each (see `shard_layers`)."""
        return isinstance(self.trainer.strategy, ModelParallelStrategy)

    def on_after_backward(self) -> None:
        if self.sharded:  # DDP does it by itself
            average_whole_gradients(self.parameters(), self.trainer.world_size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "averaging_state" in checkpoint:  # of a callback: means of what isn't trained are rounded
            every = self.named_parameters(remove_duplicate=False)
            checkpoint["state_dict"] |= {name: weight.detach() for name, weight in every if not weight.requires_grad}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the Trainer is told to; Lightning itself refuses a fused optimizer under any mixed precision."""
        if self.trainer.precision == "16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            by_norm = clip_norm if self.sharded else nn.utils.clip_grad_norm_
            clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else by_norm
            clip(self.parameters(), gradient_clip_val)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, map_location: Any = "cpu", **_: Any) -> Self:  # type: ignore[override]
        """Build a module from a checkpoint alone; nothing else of the machine that trained it is needed.

        Raises:
            InputError: if the file is missing, broken or no checkpoint of this method.
        """
        return cls.restored(read_checkpoint(Path(checkpoint_path), map_location), str(checkpoint_path))

    @classmethod
    @abstractmethod
    def restored(cls, checkpoint: dict[str, Any], source: str) -> Self:
        """Build a module from a checkpoint that was read; `source` is its name, for messages.

        Raises:
            InputError: if it is of another method.
        """
