"""Masked language modelling: which tokens a text loses, and the head that tells them from what is left."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

MASKED, REPLACED = 0.8, 0.1  # shares of the chosen tokens; the others stay as they are


class MaskedLanguageHead(nn.Module):
    """transformers' own masked-language head, without the encoder under it.

    The vocabulary's matrix is the encoder's embeddings, where the architecture ties them.

    Args:
        model: a `...ForMaskedLM`, which loses its encoder (`model.base_model`) by this: take that before.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        # the model itself then puts its head on the vectors it is given, whatever its architecture calls the head
        setattr(model, model.base_model_prefix, _Given())
        self.model = model

    def forward(self, hidden: Tensor) -> Tensor:
        """Args:
            hidden: `(tokens, dim)` float, the encoder's last layer at the tokens in question.

        Returns:
            `(tokens, vocabulary)` float32 logits.
        """
        logits: Tensor = self.model(inputs_embeds=hidden[None]).logits[0]
        return logits.float()


class _Given(nn.Module):
    """An encoder whose answer is what it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


def mask_tokens(
    ids: Tensor, maskable: Tensor, *, probability: float, mask_id: int, words: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose tokens to be told, and hide them (Devlin et al., NAACL 2019).

    Each token that may be is chosen with the given probability; of the chosen ones 80% become the mask token, 10% a
    random word, and 10% stay. Draws are torch's own on the device of `ids`.

    Args:
        ids: `(texts, tokens)` int64.
        maskable: `(texts, tokens)` bool: neither filling nor special tokens.
        probability: of a token to be chosen.
        mask_id: the mask token.
        words: `(words,)` int64, what random ones are drawn from.

    Returns:
        `(texts, tokens)` int64, what the encoder is to read; and `(texts, tokens)` bool, the chosen ones.
    """
    chosen = maskable & (torch.rand(ids.shape, device=ids.device) < probability)
    way = torch.rand(ids.shape, device=ids.device)
    drawn = words[torch.randint(len(words), ids.shape, device=ids.device)]
    read = torch.where(chosen & (way < MASKED), mask_id, ids)
    return torch.where(chosen & (way >= MASKED) & (way < MASKED + REPLACED), drawn, read), chosen
