"""Encoding a whole catalogue."""

import torch
from torch import Tensor

from recall_lightning.data.tokens import Tokens
from recall_lightning.models.encoder import TextEncoder


@torch.no_grad()
def encode_texts(encoder: TextEncoder, tokens: Tokens, device: torch.device, *, texts_at_once: int = 1024) -> Tensor:
    """Encode texts in the order of their length, which spares nearly all filling; without dropout.

    Args:
        encoder: on `device`; its training mode is left as it was.
        tokens: of the texts.
        device: where to compute.
        texts_at_once: texts a batch.

    Returns:
        `(texts, text_dim)` float32 in the texts' order.
    """
    order = tokens.lengths.argsort(kind="stable")
    vectors = torch.empty(len(order), encoder.dim, device=device)
    was_training = encoder.training
    encoder.eval()
    for start in range(0, len(order), texts_at_once):
        rows = order[start : start + texts_at_once]
        batch = tokens.batch(rows, max_buckets=8).to(device)
        vectors[torch.from_numpy(rows).to(device)] = encoder.encode(batch.ids, batch.mask, batch.buckets)
    encoder.train(was_training)
    return vectors
