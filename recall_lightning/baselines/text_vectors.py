"""The vectors that an untouched encoder gives the catalogue's texts, kept on disk."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.datamodule import RecallDataModule
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
    digest = hashlib.blake2b(encoder_digest(data.encoder).encode(), digest_size=16)
    for array in (data.tokens.values, data.tokens.offsets):
        digest.update(np.ascontiguousarray(array).tobytes())
    kept = data.cache_dir / f"vectors-{digest.hexdigest()}.npy"
    if kept.is_file():
        return torch.from_numpy(np.load(kept, allow_pickle=False))
    vectors = encode_texts(TextEncoder(load_model(data.encoder)), data.tokens, torch.device("cpu"))
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
