"""Frozen layers below the trained ones read the catalogue once: what they make of a text is the same in each step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from recall_lightning.data.tokens import TokenBatch, Tokens
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.packed import Lower
from recall_lightning.modules.encoding import batches_of, evaluating, tokens_for

MOST_BYTES = 2**31


@torch.no_grad()
def lower_of_texts(encoder: TextEncoder, tokens: Tokens, device: torch.device) -> Lower | None:
    """Have an encoder's frozen layers read texts.

    Args:
        encoder: on `device`.
        tokens: of the texts.
        device: where to compute.

    Returns:
        What they make of them; None where it isn't the same in each step, or would take more than 2 GiB.
    """
    lengths = torch.from_numpy(tokens.lengths)
    if not encoder.lower_is_fixed or int(lengths.sum()) * encoder.dim * 4 > MOST_BYTES:
        return None
    hidden = torch.empty(int(lengths.sum()), encoder.dim, dtype=torch.float32, device=device)
    made = Lower(hidden, (lengths.cumsum(0) - lengths).to(device))
    for rows, batch in _batches(tokens, device):
        hidden, packed = encoder.lower(batch.ids, batch.mask)
        made.hidden[made.places(rows, packed, batch.mask.shape[1])] = hidden.float()
    return made


@torch.no_grad()
def encode_texts_above(encoder: TextEncoder, lower: Lower, tokens: Tokens, device: torch.device) -> Tensor:
    """What `encode_texts` gives, by the trained layers alone; arguments as of `lower_of_texts`, which gave `lower`."""
    vectors = torch.empty(len(tokens.lengths), encoder.dim, device=device)
    with evaluating(encoder):
        for rows, batch in _batches(tokens, device):
            vectors[rows] = encoder.encode_above(lower, rows, batch.mask)
    return vectors


def _batches(tokens: Tokens, device: torch.device) -> Iterator[tuple[Tensor, TokenBatch]]:
    """All texts, the shortest first: `(batch,)` int64 rows, and the texts."""
    order = tokens.lengths.argsort(kind="stable")
    for start, stop in batches_of(tokens.lengths[order], tokens_for(device)):
        rows = order[start:stop]
        yield torch.from_numpy(rows).to(device), tokens.batch(rows, max_buckets=1).to(device)
