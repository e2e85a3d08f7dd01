"""Vectors on disk by the hash of what they were made of, in shards."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recall_lightning.errors import InputError
from recall_lightning.whole import written_whole

Keys = NDArray[np.bytes_]  # 16 bytes each
Vectors = NDArray[np.float32]


class VectorStore:
    """Vectors by key.

    A shard is a file that never changes, named by its keys, so that several processes may write at once.

    Args:
        folder: of the shards; made where something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, keys: Keys, vectors: Vectors) -> None:
        """Keep vectors as a shard of their own, which is there whole or not at all.

        Args:
            keys: `(vectors,)`.
            vectors: `(vectors, dim)`.
        """
        name = hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()
        with written_whole(self.folder / f"{name}.npz") as file:
            np.savez(file, keys=keys, vectors=vectors)

    def read(self, keys: Keys) -> tuple[Vectors | None, NDArray[np.bool_]]:
        """Look vectors up; of a shard that has none of them, only the keys are read.

        Args:
            keys: `(vectors,)` ascending, all different.

        Returns:
            `(vectors, dim)`, unset where none is kept, or None if none is kept of any; which are kept `(vectors,)`.

        Raises:
            InputError: if a shard can't be read.
        """
        found: Vectors | None = None
        kept = np.zeros(len(keys), bool)
        for path in sorted(self.folder.glob("*.npz")) if len(keys) else []:
            try:
                with np.load(path, allow_pickle=False) as shard:
                    held: Keys = shard["keys"]
                    at = np.searchsorted(keys, held).clip(max=len(keys) - 1)
                    wanted = (keys[at] == held) & ~kept[at]
                    if wanted.any():
                        vectors: Vectors = shard["vectors"]
                        if found is None:
                            found = np.empty((len(keys), vectors.shape[1]), np.float32)
                        found[at[wanted]] = vectors[wanted]
                        kept[at[wanted]] = True
            except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
                raise InputError(f"{path}: kept vectors that can't be read ({error}). Delete the file") from error
        return found, kept
