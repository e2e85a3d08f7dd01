"""The text encoder: tokens of a text to its vector."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from recall_lightning.errors import InputError
from recall_lightning.models.packed import PACKED, Lower, Packing, first_position, packing, pooled, unpacked

Pooling = Literal["mean", "cls"]


class TextEncoder(nn.Module):
    """A BERT-family transformer with a pooling.

    Args:
        model: any encoder of transformers whose output has a `last_hidden_state`.
        pooling: `mean` of the tokens' vectors, or the first token's (`cls`).
        frozen_layers: how many layers from below, the embeddings with them, are not trained; -1 for all.
        dropout: replaces the model's own dropout rates; None keeps them.
        texts_at_once: how many texts' activations are kept for the gradient: for more, the forward pass is made again,
            so many texts at a time (`encode`). None: those of all texts.

    Raises:
        InputError: if the model has fewer layers than are to be frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        pooling: Pooling = "mean",
        frozen_layers: int = 0,
        dropout: float | None = None,
        texts_at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.pooling, self.texts_at_once = pooling, texts_at_once
        if getattr(model, "pooler", None) is not None:
            setattr(model, "pooler", None)  # noqa: B010  # its weights would be trained by nothing, which DDP takes for an error
        if dropout is not None:
            for module, name in _dropout_rates(model):
                setattr(module, name, dropout)
        self._freeze(frozen_layers)
        self.frozen_layers = frozen_layers

    @property
    def dim(self) -> int:
        """Width of the text vectors."""
        width: int = self.model.config.hidden_size
        return width

    @property
    def trained(self) -> bool:
        """Whether any weight of it is trained."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @property
    def drops_out(self) -> bool:
        """Whether a text's vector is another each time in training."""
        return any(getattr(module, name) > 0 for module, name in _dropout_rates(self.model))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode texts.

        Args:
            ids: `(texts, tokens)` int64.
            mask: `(texts, tokens)` bool, False on the filling; None where there is none, which is faster.

        Returns:
            `(texts, dim)` float32.
        """
        return self.of_embeddings(self.model.get_input_embeddings()(ids), mask)

    @property
    def packs(self) -> bool:
        """Whether the layers read texts one after the other, without filling."""
        return self.model.config._attn_implementation == PACKED

    def _hidden(self, embeddings: Tensor, mask: Tensor | None) -> Tensor:
        """`(texts, tokens, dim)`."""
        if self.packs:
            mask = _whole(embeddings) if mask is None else mask
            packed = packing(mask)
            return unpacked(self._packed_hidden(embeddings, packed), packed, mask.shape)
        attended = None if mask is None else mask.long()
        embeddings = embeddings.contiguous()  # or compiled layers would be made anew for narrower texts
        hidden: Tensor = self.model(inputs_embeds=embeddings, attention_mask=attended).last_hidden_state
        return hidden

    def _packed_hidden(self, embeddings: Tensor, packed: Packing) -> Tensor:
        """`(all tokens, dim)` in the order of the packing, of embeddings `(texts, tokens, width)`."""
        tokens = embeddings.flatten(0, 1).index_select(0, packed.tokens)
        positions = packed.positions + first_position(self.model.config)
        made = self.model(inputs_embeds=tokens[None], position_ids=positions[None], runs=packed.runs)
        hidden: Tensor = made.last_hidden_state[0]
        return hidden

    def _pooled(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self.pooling == "cls":
            return hidden[:, 0].float()
        if mask is None:
            return hidden.float().mean(1)
        weights = mask[..., None].to(hidden.dtype)
        return (hidden * weights).sum(1).float() / mask.sum(1, keepdim=True).clamp(min=1)  # an empty text: zeros

    def encode(self, ids: Tensor, mask: Tensor, buckets: tuple[tuple[int, int, int], ...]) -> Tensor:
        """Encode texts that are sorted by length, bucket by bucket: the same vectors, without most of the filling.

        With `texts_at_once`, memory grows with so many texts, however many there are, and the gradient is the same, to
        rounding (as of GradCache, Gao et al., RepL4NLP 2021; by checkpoints, Chen et al., 2016); it takes another
        forward pass.

        Args:
            ids: `(texts, tokens)` int64.
            mask: `(texts, tokens)` bool.
            buckets: spans `(start, stop, width)` that cover all texts, see `TokenBatch`.

        Returns:
            `(texts, dim)` float32.
        """
        # looked up once: each look-up's gradient is as large as the vocabulary
        embeddings = self.model.get_input_embeddings()(ids)
        again = self.texts_at_once is not None and torch.is_grad_enabled() and self.trained
        vectors = []
        whole = ((0, *ids.shape),) if len(ids) else ()
        for start, stop, width in whole if self.packs else buckets:
            step = self.texts_at_once if again and self.texts_at_once else max(stop - start, 1)
            for a in range(start, stop, step):
                part = (embeddings[a : min(a + step, stop), :width], mask[a : min(a + step, stop), :width])
                vectors.append(
                    checkpoint(self.of_embeddings, *part, use_reentrant=False) if again else self.of_embeddings(*part)
                )
        return torch.cat(vectors) if vectors else embeddings.new_zeros((0, self.dim))

    def of_embeddings(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode texts of which the tokens' embeddings are looked up already.

        Args:
            embeddings: `(texts, tokens, hidden)` float.
            mask: as of `forward`.

        Returns:
            `(texts, dim)` float32.
        """
        if self.packs:
            packed = packing(_whole(embeddings) if mask is None else mask)
            return pooled(self._packed_hidden(embeddings, packed), packed, first=self.pooling == "cls")
        return self._pooled(self._hidden(embeddings, mask), mask)

    @property
    def lower_is_fixed(self) -> bool:
        """Whether a text's hidden vectors under the trained layers are the same in each step, and can be had apart."""
        split = self.frozen_layers > 0 and self.trained
        return self.packs and split and not self.drops_out and self.texts_at_once is None

    def lower(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Packing]:
        """What the frozen layers make of texts `(texts, tokens)`: `(all tokens, dim)`, and how they are packed."""
        packed, given = packing(mask), []
        first = layer_stack(self.model)[self.frozen_layers]
        handle = first.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][0]))
        try:
            self._packed_hidden(self.model.get_input_embeddings()(ids), packed)
        finally:
            handle.remove()
        return given[0], packed

    def encode_above(self, lower: Lower, rows: Tensor, mask: Tensor) -> Tensor:
        """What `encode` gives, by the trained layers alone.

        Args:
            lower: of all texts.
            rows: `(texts,)` int64, which of them.
            mask: `(texts, tokens)` bool.

        Returns:
            `(texts, dim)` float32.
        """
        packed = packing(mask)
        hidden = lower.hidden[lower.places(rows, packed, mask.shape[1])][None]
        for layer in list(layer_stack(self.model))[self.frozen_layers :]:
            hidden = layer(hidden, None, runs=packed.runs)
        return pooled(hidden[0], packed, first=self.pooling == "cls")

    def hidden_at(self, ids: Tensor, mask: Tensor, buckets: tuple[tuple[int, int, int], ...], chosen: Tensor) -> Tensor:
        """The last layer's vectors of chosen tokens, of texts as in `encode`.

        Args:
            ids: `(texts, tokens)` int64.
            mask: `(texts, tokens)` bool.
            buckets: see `encode`.
            chosen: `(texts, tokens)` bool.

        Returns:
            `(chosen tokens, dim)` float, text after text.
        """
        embeddings = self.model.get_input_embeddings()(ids)
        parts = [
            self._hidden(embeddings[a:b, :width], mask[a:b, :width])[chosen[a:b, :width]] for a, b, width in buckets
        ]
        return torch.cat(parts) if parts else embeddings.new_zeros((0, self.dim))

    def _freeze(self, frozen_layers: int) -> None:
        if frozen_layers == 0:
            return
        kept: list[nn.Module] = []
        if frozen_layers != -1:
            layers = layer_stack(self.model)
            if not 0 < frozen_layers <= len(layers):
                raise InputError(
                    f"model.encoder.frozen_layers is {frozen_layers}, but the encoder has {len(layers)} layers: give 0 "
                    f"to {len(layers)}, or -1 for all"
                )
            kept = list(layers)[frozen_layers:]
        self.model.requires_grad_(False)
        for layer in kept:
            layer.requires_grad_(True)


def _whole(embeddings: Tensor) -> Tensor:
    """The mask of texts `(texts, tokens, width)` without filling."""
    return torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)


def _dropout_rates(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Module and attribute of every dropout rate; some attentions keep theirs as a number."""
    return [
        (module, name)
        for module in model.modules()
        for name, value in vars(module).items()
        if (name == "p" and isinstance(module, nn.Dropout)) or ("dropout" in name and isinstance(value, (int, float)))
    ]


def layer_stack(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of transformer layers: the longest list of modules, as long as the config says."""
    count = model.config.num_hidden_layers
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise InputError(
            f"model.encoder.frozen_layers: no stack of {count} layers in {type(model).__name__}: give 0, or -1 for all"
        )
    return stacks[0]
