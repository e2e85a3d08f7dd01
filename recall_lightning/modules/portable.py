"""PortableModule: a module that its checkpoint alone can build again."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import lightning as L
from transformers import PreTrainedModel

from recall_lightning.errors import InputError
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.modules.checkpoint import Background, carried, read_checkpoint, restored
from recall_lightning.modules.threshold import ThresholdChoice


class PortableModule(L.LightningModule):
    """Base of the modules: its checkpoints carry all that it takes to use them, on any machine.

    Attributes:
        is_meta: whether checkpoints are meta-trained.
        background: what the model was trained with; None until it is built.
    """

    is_meta: ClassVar[bool] = False
    model: RecallModel
    background: Background | None
    threshold: ThresholdChoice
    _refreshed_at_step: int

    @abstractmethod
    def build(self, model: PreTrainedModel, background: Background) -> None:
        """Make the weights around an encoder, for a catalogue."""

    @property
    @abstractmethod
    def _cached(self) -> bool:
        """Whether a step uses vectors that it doesn't make."""

    @classmethod
    @abstractmethod
    def _settings(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """What `__init__` takes, of what `save_hyperparameters` kept."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert self.background is not None
        parts = carried(self.model.encoder.model, self.background)
        cache = self.model.cache.vectors.cpu() if self._cached else None
        checkpoint["recall_lightning"] = parts | {
            "cache": cache, "refreshed_at_step": self._refreshed_at_step, "threshold": self.threshold.carried(),
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.threshold.restore(checkpoint["recall_lightning"].get("threshold"))  # older ones have none
        cache = checkpoint["recall_lightning"]["cache"]
        if cache is not None:
            self.model.cache.vectors.copy_(cache)
            self._refreshed_at_step = checkpoint["recall_lightning"]["refreshed_at_step"]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, map_location: Any = "cpu", **_: Any) -> Self:  # type: ignore[override]
        """Build a module from a checkpoint alone; nothing else of the machine that trained it is needed.

        Raises:
            InputError: if the file is missing, broken or no checkpoint of this package.
        """
        return cls.restored(read_checkpoint(Path(checkpoint_path), map_location), str(checkpoint_path))

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], source: str) -> Self:
        """Build a module from a checkpoint that was read; `source` is its name, for messages.

        Raises:
            InputError: if it is of another method.
        """
        saved, parts = dict(checkpoint["hyper_parameters"]), checkpoint["recall_lightning"]
        if ("inner_loop" in saved) != cls.is_meta:
            raise InputError(
                f"{source}: the checkpoint was {'not ' if cls.is_meta else ''}meta-trained. Give one that was trained "
                f"with `method: {'maml' if cls.is_meta else 'recall'}`"
            )
        module = cls(**cls._settings(saved))
        module.build(*restored(parts))
        try:
            module.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise InputError(
                f"{source}: its weights are not those of its settings, so it is of another version of the package. Use "
                f"that version, or train again. {str(error).splitlines()[-1].strip()}"
            ) from error
        module.threshold.restore(parts.get("threshold"))
        return module.eval()
