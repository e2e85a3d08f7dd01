"""Room on disk for what memory shouldn't hold: arrays that grow, and rows put aside by bucket.

The files have no name, so nothing is left of them however a run ends: they are gone with the arrays that map them.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.ragged import Ints, offsets_of

_BYTES_A_ROW = 200  # what sorting takes at its peak: ids, times, three keys, and numpy's copies of them


@dataclass(frozen=True)
class Room:
    """Where to put what memory shouldn't hold, and how much of it memory may hold.

    Attributes:
        folder: of the files; not one that is itself in memory, as `/tmp` may be.
        rows: interactions that are in memory at once.
    """

    folder: Path
    rows: int

    @classmethod
    def of(cls, folder: Path, memory_mb: int) -> "Room":
        """Room in a folder, with so many MiB of memory beside."""
        return cls(folder, max(1, memory_mb * 2**20 // _BYTES_A_ROW))

    def buckets_for(self, n_rows: int) -> int:
        """How many buckets of about equal size hold so many rows, each of them no more than memory may."""
        return max(1, -(-n_rows * 5 // (self.rows * 4)))  # a fifth to spare: they are equal in the mean alone


class Growing:
    """An array that grows at its end, in a file or in memory.

    Args:
        room: where; None for memory.
        dtype: of its values.
    """

    def __init__(self, room: Room | None, dtype: Any) -> None:
        self._file = None if room is None else _file_in(room)
        self._dtype, self._length = np.dtype(dtype), 0
        self._held: list[NDArray[Any]] = []

    def append(self, values: NDArray[Any]) -> None:
        """Put `(n,)` values at the end."""
        values = np.ascontiguousarray(values, self._dtype)
        self._length += len(values)
        if self._file is None:
            self._held.append(values)
        else:
            self._file.write(values.data)

    def whole(self) -> NDArray[Any]:
        """All of it; a file is mapped, so that pages are read as they are asked for."""
        if self._file is None or not self._length:
            return self._held[0] if len(self._held) == 1 else np.concatenate([np.empty(0, self._dtype), *self._held])
        self._file.flush()
        return np.asarray(np.memmap(self._file, self._dtype, "r", shape=(self._length,)))


class Spill:
    """Rows put aside by bucket in one pass, to be taken up again bucket by bucket when all are there.

    Args:
        room: where.
        n_buckets: how many there are.
    """

    def __init__(self, room: Room, n_buckets: int) -> None:
        self.n_buckets = n_buckets
        self._file = _file_in(room)
        self._added: list[tuple[Ints, list[tuple[int, np.dtype[Any]]]]] = []  # bounds of buckets, places of columns

    def add(self, buckets: Ints, *columns: NDArray[Any]) -> None:
        """Put rows aside.

        Args:
            buckets: `(n,)` the bucket of each.
            columns: `(n,)` each, as many in every call; types may change from call to call.
        """
        order = np.argsort(buckets.astype(np.min_scalar_type(self.n_buckets)), kind="stable")  # few bits: a radix sort
        places = []
        for column in columns:
            places.append((self._file.tell(), column.dtype))
            self._file.write(column[order].data)
        self._added.append((offsets_of(np.bincount(buckets, minlength=self.n_buckets)), places))

    def read(self, bucket: int) -> list[NDArray[Any]]:
        """The columns of one bucket, rows in the order in which they came; of the type that holds all of them."""
        return [np.concatenate(pieces) for pieces in zip(*self.pieces(bucket), strict=True)]

    def pieces(self, bucket: int) -> Iterator[list[NDArray[Any]]]:
        """What each call of `add` put into a bucket, mapped: for a bucket that memory might not hold after all."""
        self._file.flush()
        size = self._file.tell()
        data = np.asarray(np.memmap(self._file, np.uint8, "r")) if size else np.empty(0, np.uint8)
        for bounds, places in self._added:
            start, stop = bounds[bucket : bucket + 2].tolist()
            yield [data[at + start * kind.itemsize : at + stop * kind.itemsize].view(kind) for at, kind in places]


def _file_in(room: Room) -> IO[bytes]:
    room.folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=room.folder)
