"""The vectors that the untouched encoder gives a catalogue's texts."""

import hashlib
from pathlib import Path

from torch import Tensor

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.kept_vectors import kept_vectors
from recall_lightning.pretrained import load_model


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
