"""The vectors that an encoder gives a catalogue's texts, kept on disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.tokens import Tokens
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.pretrained import load_model
from recall_lightning.whole import written_whole


def text_vectors(data: RecallDataModule) -> Tensor:
    """Encode the catalogue with `data.encoder` as it is, or take what was kept of equal texts and weights.

    Returns:
        `(items, dim)` float32.

    Raises:
        InputError: if the encoder can't be read.
    """
    return kept_vectors(
        lambda: TextEncoder(load_model(data.encoder)), encoder_digest(data.encoder), data.tokens, data.cache_dir
    )


def kept_vectors(encoder: Callable[[], TextEncoder], digest: str, tokens: Tokens, folder: Path) -> Tensor:
    """Encode texts, or take what was kept of equal ones.

    Args:
        encoder: makes the encoder, where it is needed.
        digest: what tells it from others.
        tokens: of the texts.
        folder: where vectors are kept.

    Returns:
        `(texts, dim)` float32.
    """
    named = hashlib.blake2b(digest.encode(), digest_size=16)
    for array in (tokens.values, tokens.offsets):
        named.update(np.ascontiguousarray(array).tobytes())
    kept = folder / f"vectors-{named.hexdigest()}.npy"
    if kept.is_file():
        return torch.from_numpy(np.load(kept, allow_pickle=False))
    vectors = encode_texts(encoder(), tokens, torch.device("cpu"))
    with written_whole(kept) as file:
        np.save(file, vectors.numpy())
    return vectors


def encoder_digest(folder: str) -> str:
    """A hash of an encoder's weights, settings and tokenizer; of a hub's name, the name."""
    digest = hashlib.blake2b(digest_size=16)
    kinds = {".safetensors", ".bin", ".json", ".txt", ".model"}
    files = [path for path in sorted(Path(folder).glob("*")) if path.suffix in kinds]
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if files else folder


def weights_digest(encoder: TextEncoder) -> str:
    """A hash of an encoder as it is in memory: its weights, its pooling and the settings of its transformer."""
    settings = {**encoder.model.config.to_dict(), "_name_or_path": None}  # a path tells nothing of what is computed
    digest = hashlib.blake2b(f"{encoder.pooling} {sorted(settings.items(), key=str)}".encode(), digest_size=16)
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
