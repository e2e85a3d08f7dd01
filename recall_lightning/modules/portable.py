"""PortableModule: a module that its checkpoint alone can build again."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recall_lightning.errors import InputError
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.modules.base import BaseModule
from recall_lightning.modules.checkpoint import (
    Background,
    carried,
    fill,
    refuse_pretrained,
    restored,
)
from recall_lightning.modules.threshold import ThresholdChoice


class PortableModule(BaseModule):
    """Base of the modules: its checkpoints carry all that it takes to use them, on any machine.

    Attributes:
        is_meta: whether checkpoints are meta-trained.
        background: what the model was trained with; None until it is built.
    """

    is_meta: ClassVar[bool] = False
    model: RecallModel
    background: Background | None
    threshold: ThresholdChoice

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The encoder's, once the model is built."""
        assert self.background is not None
        return self.background.tokenizer

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
        super().on_save_checkpoint(checkpoint)
        parts = carried(self.model.encoder.model, self.background)
        cache = self.model.cache.vectors.cpu() if self._cached else None
        checkpoint["recall_lightning"] = parts | {
            "cache": cache, "refreshed_at_step": int(self.model.cache.made_at),
            "threshold": self.threshold.carried(),
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.threshold.restore(checkpoint["recall_lightning"].get("threshold"))  # older ones have none
        cache = checkpoint["recall_lightning"]["cache"]
        if cache is not None:
            self.model.cache.vectors.copy_(cache)
            self.model.cache.made_at.fill_(checkpoint["recall_lightning"]["refreshed_at_step"])

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], source: str) -> Self:
        refuse_pretrained(checkpoint, source)
        saved, parts = dict(checkpoint["hyper_parameters"]), checkpoint["recall_lightning"]
        if ("inner_loop" in saved) != cls.is_meta:
            raise InputError(
                f"{source}: the checkpoint was {'not ' if cls.is_meta else ''}meta-trained. Give one that was trained "
                f"with `method: {'maml' if cls.is_meta else 'recall'}`"
            )
        module = cls(**cls._settings(saved))
        module.build(*restored(parts))
        fill(module, checkpoint, source)
        module.threshold.restore(parts.get("threshold"))
        return module.eval()
