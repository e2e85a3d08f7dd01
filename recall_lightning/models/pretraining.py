"""What an encoder is pretrained with: its masked-language head, and two views of each text."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.masked_language import MaskedLanguageHead, mask_tokens

Buckets = tuple[tuple[int, int, int], ...]


class PretrainingModel(nn.Module):
    """An encoder and what its objectives need. Texts come as of `TextEncoder.encode`.

    Args:
        encoder: the text encoder.
        head: tells masked tokens; None where nothing asks for them.
        mask_id: the mask token.
        special: `(special,)` int64, tokens that are never masked.
        vocabulary: tokens there are.
        mask_probability: of a token to be one that is to be told.
    """

    special: Tensor
    words: Tensor

    def __init__(
        self, encoder: TextEncoder, head: MaskedLanguageHead | None, *, mask_id: int, special: Tensor, vocabulary: int,
        mask_probability: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.head, self.mask_id, self.mask_probability = encoder, head, mask_id, mask_probability
        every = torch.arange(vocabulary)
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("words", every[~torch.isin(every, special)], persistent=False)

    def masked_language(self, ids: Tensor, mask: Tensor, buckets: Buckets) -> tuple[Tensor, int]:
        """The mean loss of masked tokens, in nats (0 if there is none), and their number.

        They alone go through the projection to the vocabulary.
        """
        assert self.head is not None
        read, chosen = mask_tokens(
            ids, mask & ~torch.isin(ids, self.special), probability=self.mask_probability, mask_id=self.mask_id,
            words=self.words,
        )  # fmt: skip
        logits = self.head(self.encoder.hidden_at(read, mask, buckets, chosen))
        return F.cross_entropy(logits, ids[chosen], reduction="sum") / max(len(logits), 1), len(logits)

    def views(self, ids: Tensor, mask: Tensor, buckets: Buckets) -> tuple[Tensor, Tensor]:
        """Two vectors of each text `(texts, dim)`, by two draws of dropout."""
        n = len(ids)
        again = tuple((start + n, stop + n, width) for start, stop, width in buckets)
        vectors = self.encoder.encode(torch.cat([ids, ids]), torch.cat([mask, mask]), buckets + again)
        return vectors[:n], vectors[n:]

    def head_parameters(self) -> list[nn.Parameter]:
        """The head's own weights: its largest matrix may be the encoder's embeddings."""
        tied = {id(p) for p in self.encoder.parameters()}
        return [] if self.head is None else [p for p in self.head.parameters() if id(p) not in tied]
