"""Shares: several processes encode a part of the texts each, and all get all vectors."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.ragged import Ints
from recall_lightning.data.tokens import Tokens
from recall_lightning.modules.joined import Gather


def encode_in_shares(
    encode: Callable[[Tokens, Ints], Tensor], tokens: Tokens, rank: int, world_size: int, gather: Gather
) -> Tensor:
    """Encode texts, each process as many and of like lengths, so that none waits long for another.

    Args:
        encode: texts to `(texts, dim)` vectors, and lengths to cut batches by, the same on all processes: those that
            share an encoder's layers have to run them equally often.
        tokens: of all texts, the same on all processes.
        rank: this process.
        world_size: processes.
        gather: of what is of one shape on all processes.

    Returns:
        `(texts, dim)`, bit for bit the same on all processes.
    """
    n = len(tokens.offsets) - 1
    by_length = np.argsort(tokens.lengths, kind="stable")
    # around again for the last few, so that all shares are of one size
    shares = np.resize(by_length, (-(-n // world_size), world_size))
    longest = tokens.lengths[shares].max(1)
    parts = gather(encode(tokens.select(shares[:, rank]), longest))  # (processes, share, dim)
    in_order = parts.transpose(0, 1).flatten(0, 1)[:n]
    vectors = torch.empty_like(in_order)
    vectors[torch.from_numpy(by_length).to(vectors.device)] = in_order
    return vectors
