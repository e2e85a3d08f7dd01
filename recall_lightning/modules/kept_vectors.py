"""Text vectors kept on disk: only texts that no earlier run has encoded are."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.ragged import Ints
from recall_lightning.data.tokens import Tokens
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import Encoder, encoded_batches
from recall_lightning.modules.vector_store import Keys, Vectors, VectorStore

CPU = torch.device("cpu")
TOKENS_A_SHARD = 2**16  # what a run that is killed loses: some seconds of a small encoder, a minute of BERT-base


def kept_vectors(
    encoder: Callable[[], Encoder], digest: str, tokens: Tokens, folder: Path, device: torch.device = CPU
) -> Tensor:
    """Encode texts, save those that were encoded before; equal texts once.

    Vectors are kept as encoding goes, so a run that was killed goes on where it was. Its texts then share batches with
    others than they would have, so vectors are the same to rounding.

    Args:
        encoder: makes the encoder, where it is needed.
        digest: what tells it from others.
        tokens: of the texts.
        folder: where vectors are kept, in a folder for each encoder.
        device: where to compute, and where they are wanted.

    Returns:
        `(texts, dim)` float32.

    Raises:
        InputError: if what is kept can't be read.
    """
    named = hashlib.blake2b(f"{digest} {tokens.frame}".encode(), digest_size=16)
    store = VectorStore(folder / f"vectors-{named.hexdigest()}")
    keys, first, place = np.unique(text_keys(tokens), return_index=True, return_inverse=True)
    vectors, kept = store.read(keys)  # of distinct texts; text i is the one at place[i]
    if vectors is None or not kept.all():
        made = encoder()
        if vectors is None:
            vectors = np.empty((len(keys), made.dim), np.float32)
        rest = np.sort(first[~kept])  # in their own order, on which batches depend
        for rows, part in _in_shards(encoded_batches(made, tokens, rest, device), tokens):
            store.write(keys[place[rows]], part)
            vectors[place[rows]] = part
    return torch.from_numpy(vectors[place]).to(device)


def text_keys(tokens: Tokens) -> Keys:
    """`(texts,)`: a hash of each text's tokens."""
    spans = itertools.pairwise(tokens.offsets.tolist())
    hashed = [hashlib.blake2b(tokens.values[a:b].tobytes(), digest_size=16).digest() for a, b in spans]
    return np.array(hashed, "S16")


def _in_shards(batches: Iterator[tuple[Ints, Tensor]], tokens: Tokens) -> Iterator[tuple[Ints, Vectors]]:
    """Batches put together, to `TOKENS_A_SHARD` each."""
    held: list[tuple[Ints, Vectors]] = []
    room = TOKENS_A_SHARD
    for rows, vectors in batches:
        held.append((rows, vectors.cpu().numpy()))
        room -= int(tokens.lengths[rows].sum())
        if room <= 0:
            yield _joined(held)
            held, room = [], TOKENS_A_SHARD
    if held:
        yield _joined(held)


def _joined(held: list[tuple[Ints, Vectors]]) -> tuple[Ints, Vectors]:
    rows, vectors = zip(*held, strict=True)
    return np.concatenate(rows), np.concatenate(vectors)


def weights_digest(encoder: TextEncoder) -> str:
    """A hash of an encoder as it is in memory: its weights, its pooling and the settings of its transformer."""
    settings = {**encoder.model.config.to_dict(), "_name_or_path": None}  # a path tells nothing of what is computed
    digest = hashlib.blake2b(f"{encoder.pooling} {sorted(settings.items(), key=str)}".encode(), digest_size=16)
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
