"""The text encoder: tokens of a text to its vector."""

from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recall_lightning.errors import InputError

Pooling = Literal["mean", "cls"]


class TextEncoder(nn.Module):
    """A BERT-family transformer with a pooling.

    Args:
        model: any encoder of transformers whose output has a `last_hidden_state`.
        pooling: `mean` of the tokens' vectors, or the first token's (`cls`).
        frozen_layers: how many layers from below, the embeddings with them, are not trained; -1 for all.
        dropout: replaces the model's own dropout rates; None keeps them.

    Raises:
        InputError: if the model has fewer layers than are to be frozen.
    """

    def __init__(
        self, model: PreTrainedModel, *, pooling: Pooling = "mean", frozen_layers: int = 0, dropout: float | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        if getattr(model, "pooler", None) is not None:
            setattr(model, "pooler", None)  # noqa: B010  # its weights would be trained by nothing, which DDP takes for an error
        if dropout is not None:
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
                for name, value in vars(module).items():  # some attentions keep their rate as a number
                    if "dropout" in name and isinstance(value, (int, float)):
                        setattr(module, name, dropout)
        self._freeze(frozen_layers)

    @property
    def dim(self) -> int:
        """Width of the text vectors."""
        width: int = self.model.config.hidden_size
        return width

    @property
    def trained(self) -> bool:
        """Whether any weight of it is trained."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode texts.

        Args:
            ids: `(texts, tokens)` int64.
            mask: `(texts, tokens)` bool, False on the filling.

        Returns:
            `(texts, dim)` float32.
        """
        return self._pooled(self.model.get_input_embeddings()(ids), mask)

    def _pooled(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        hidden = self.model(inputs_embeds=embeddings, attention_mask=mask.long()).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0].float()
        weights = mask[..., None].to(hidden.dtype)
        return (hidden * weights).sum(1).float() / mask.sum(1, keepdim=True).clamp(min=1)  # an empty text: zeros

    def encode(self, ids: Tensor, mask: Tensor, buckets: tuple[tuple[int, int, int], ...]) -> Tensor:
        """Encode texts that are sorted by length, bucket by bucket: the same vectors, without most of the filling.

        Args:
            ids: `(texts, tokens)` int64.
            mask: `(texts, tokens)` bool.
            buckets: spans `(start, stop, width)` that cover all texts, see `TokenBatch`.

        Returns:
            `(texts, dim)` float32.
        """
        # looked up once: each look-up's gradient is as large as the vocabulary
        embeddings = self.model.get_input_embeddings()(ids)
        vectors = [self._pooled(embeddings[a:b, :width], mask[a:b, :width]) for a, b, width in buckets]
        return torch.cat(vectors) if vectors else embeddings.new_zeros((0, self.dim))

    def _freeze(self, frozen_layers: int) -> None:
        if frozen_layers == 0:
            return
        kept: list[nn.Module] = []
        if frozen_layers != -1:
            layers = _layers(self.model)
            if not 0 < frozen_layers <= len(layers):
                raise InputError(
                    f"model.encoder.frozen_layers is {frozen_layers}, but the encoder has {len(layers)} layers: give 0 "
                    f"to {len(layers)}, or -1 for all"
                )
            kept = list(layers)[frozen_layers:]
        self.model.requires_grad_(False)
        for layer in kept:
            layer.requires_grad_(True)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of transformer layers: the longest list of modules, as long as the config says."""
    count = model.config.num_hidden_layers
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise InputError(
            f"model.encoder.frozen_layers: no stack of {count} layers in {type(model).__name__}: give 0, or -1 for all"
        )
    return stacks[0]
