"""Settings of the encoder."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedModel

from recall_lightning.errors import InputError
from recall_lightning.models.encoder import Pooling, TextEncoder
from recall_lightning.models.lora import add_adapters
from recall_lightning.models.packed import PACKED, first_position


@dataclass
class EncoderConfig:
    """Which encoder, and how much of it is trained.

    Args:
        path: folder of a transformers encoder (or its name on a hub).
        pooling: how a text's vector is made of its tokens': their `mean`, or the first one's (`cls`).
        frozen_layers: how many layers from below are not trained; -1 for all. With `dropout: 0` and `attention:
            packed` they read the catalogue once, as training starts, and no step runs them again (up to 2 GiB).
        dropout: replaces the encoder's own dropout rates; null keeps them.
        attention: the kernel of attention. transformers' `sdpa` suits GPUs. On a CPU, `packed` is the fastest: texts
            stand one after the other, without filling, and give the same vectors and gradients to rounding (of BERT,
            RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA and DistilBERT); for other encoders there, transformers' `eager`.
        lora_rank: trains adapters of this rank (LoRA, by the library peft) beside the linear layers, in those layers
            that are not frozen, and none of the pretrained weights; null trains these themselves. Adapters usually
            want a higher `optimizer.encoder_lr`.
        lora_alpha: scale of the adapters: they count alpha / rank fold.
        compile: whether `fit` compiles the encoder (`torch.compile`, shapes dynamic: not for each length of texts, but
            for a few kinds of batches). It takes some half a minute each on a CPU, where it saves no time. Not with
            `packed`.
        texts_at_once: how many texts' activations a step keeps in memory; the gradient of more is made by encoding them
            again, so many at a time: large batches in little memory, for a third more time. null keeps all.

    Raises:
        InputError: if `lora_rank`, `lora_alpha` or `texts_at_once` is below 1, adapters are asked for where all layers
            are frozen or peft isn't installed, or packed layers are to be compiled.
    """

    path: str
    pooling: Pooling = "mean"
    frozen_layers: int = 0
    dropout: float | None = None
    attention: Literal["sdpa", "eager", "packed"] = "sdpa"
    lora_rank: int | None = None
    lora_alpha: int = 16
    texts_at_once: int | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if self.texts_at_once is not None and self.texts_at_once < 1:
            raise InputError(
                f"model.encoder.texts_at_once is {self.texts_at_once}: give 1 or more, such as 64, or null for all"
            )
        if self.compile and self.attention == PACKED:
            raise InputError(
                f"model.encoder.compile is true, but with attention: {PACKED} each step would be compiled anew: "
                "give attention: sdpa, or compile: false"
            )
        if self.lora_rank is None:
            return
        for name in ("lora_rank", "lora_alpha"):
            if getattr(self, name) < 1:
                raise InputError(f"model.encoder.{name} is {getattr(self, name)}: give 1 or more, such as 16")
        if self.frozen_layers == -1:
            raise InputError(
                f"model.encoder.lora_rank is {self.lora_rank}, but with frozen_layers: -1 nothing of the encoder is "
                "trained: give frozen_layers: 0 (the pretrained weights stay as they are then, too), or lora_rank: null"
            )
        if importlib.util.find_spec("peft") is None:  # told here, before any data is read
            raise InputError(
                f"model.encoder.lora_rank is {self.lora_rank}, which needs peft. Install it: pip install peft"
            )

    def text_encoder(self, model: PreTrainedModel) -> TextEncoder:
        """Make a text encoder around a transformer, whose weights may be still to be filled in.

        Raises:
            InputError: if the model doesn't have the layers that are to be frozen, or to get adapters, or its texts
                can't be packed.
        """
        if self.attention == PACKED:
            first_position(model.config)
        encoder = TextEncoder(
            model, pooling=self.pooling, frozen_layers=self.frozen_layers, dropout=self.dropout,
            texts_at_once=self.texts_at_once,
        )  # fmt: skip
        if self.lora_rank is not None:
            add_adapters(model, rank=self.lora_rank, alpha=self.lora_alpha)
        return encoder
