"""Encoding a whole catalogue."""

import torch
from torch import Tensor

from recall_lightning.data.tokens import Tokens
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.packed import Lower

MOST_LOWER_BYTES = 2**31


@torch.no_grad()
def encode_texts(
    encoder: TextEncoder, tokens: Tokens, device: torch.device, *, texts_at_once: int = 1024, lower: Lower | None = None
) -> Tensor:
    """Encode texts in the order of their length, which spares nearly all filling; without dropout.

    Args:
        encoder: on `device`; its training mode is left as it was.
        tokens: of the texts.
        device: where to compute.
        texts_at_once: texts a batch.
        lower: what the frozen layers make of the texts, where that is at hand.

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
        places = torch.from_numpy(rows).to(device)
        vectors[places] = (
            encoder.encode(batch.ids, batch.mask, batch.buckets)
            if lower is None
            else encoder.encode_above(lower, places, batch.mask)
        )
    encoder.train(was_training)
    return vectors


@torch.no_grad()
def lower_of_texts(
    encoder: TextEncoder, tokens: Tokens, device: torch.device, *, texts_at_once: int = 1024
) -> Lower | None:
    """Have an encoder's frozen layers read texts, once for all steps; arguments as of `encode_texts`.

    Returns:
        What they make of them; None where it isn't the same in each step, or would take more than 2 GiB.
    """
    lengths = torch.from_numpy(tokens.lengths)
    if not encoder.lower_is_fixed or int(lengths.sum()) * encoder.dim * 4 > MOST_LOWER_BYTES:
        return None
    made = Lower(torch.empty(int(lengths.sum()), encoder.dim, device=device), (lengths.cumsum(0) - lengths).to(device))
    order = tokens.lengths.argsort(kind="stable")
    for start in range(0, len(order), texts_at_once):
        rows = order[start : start + texts_at_once]
        batch = tokens.batch(rows).to(device)
        hidden, packed = encoder.lower(batch.ids, batch.mask)
        places = made.places(torch.from_numpy(rows).to(device), packed, batch.mask.shape[1])
        made.hidden[places] = hidden.float()
    return made
