"""Text vectors of an encoder that isn't trained, kept on disk: the next run needs not make them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.tokens import Tokens
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.whole import written_whole

CPU = torch.device("cpu")


def kept_vectors(
    encoder: Callable[[], TextEncoder], digest: str, tokens: Tokens, folder: Path, device: torch.device = CPU
) -> Tensor:
    """Encode texts, or take what was kept of equal ones.

    Args:
        encoder: makes the encoder, where it is needed.
        digest: what tells it from others.
        tokens: of the texts.
        folder: where vectors are kept.
        device: where to compute, and where they are wanted.

    Returns:
        `(texts, dim)` float32.
    """
    named = hashlib.blake2b(f"{digest} {tokens.frame}".encode(), digest_size=16)
    for array in (tokens.values, tokens.offsets):
        named.update(np.ascontiguousarray(array).tobytes())
    kept = folder / f"vectors-{named.hexdigest()}.npy"
    if kept.is_file():
        return torch.from_numpy(np.load(kept, allow_pickle=False)).to(device)
    vectors = encode_texts(encoder(), tokens, device)
    with written_whole(kept) as file:
        np.save(file, vectors.cpu().numpy())
    return vectors


def weights_digest(encoder: TextEncoder) -> str:
    """A hash of an encoder as it is in memory: its weights, its pooling and the settings of its transformer."""
    settings = {**encoder.model.config.to_dict(), "_name_or_path": None}  # a path tells nothing of what is computed
    digest = hashlib.blake2b(f"{encoder.pooling} {sorted(settings.items(), key=str)}".encode(), digest_size=16)
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
