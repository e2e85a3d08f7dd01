"""Interactions as files have them: row by row, in memory or part by part."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recall_lightning.data.ragged import Ints


@dataclass(frozen=True)
class InteractionLog:
    """Interactions as a file has them: a row each, in the file's order, ids as strings.

    Attributes:
        source: the file's name, for messages.
        user_ids: `(distinct users,)` in order of appearance.
        item_ids: `(distinct items,)` in order of appearance.
        users: `(rows,)` int64 positions in `user_ids`.
        items: `(rows,)` int64 positions in `item_ids`.
        times: `(rows,)` int64 or float64 seconds, or None: then row order is time order.
        weights: `(rows,)` float64, such as a rating, or None.
    """

    source: str
    user_ids: list[str]
    item_ids: list[str]
    users: Ints
    items: Ints
    times: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: NDArray[np.bool_]) -> "InteractionLog":
        """The rows where `rows` is true; ids keep their positions."""
        times = None if self.times is None else self.times[rows]
        weights = None if self.weights is None else self.weights[rows]
        return InteractionLog(
            self.source, self.user_ids, self.item_ids, self.users[rows], self.items[rows], times, weights
        )


@dataclass(frozen=True)
class LogPart:
    """Some rows of a log, ids as they were read.

    Attributes:
        users, items: `(rows,)` Arrow's strings.
        times, weights: as of `InteractionLog`.
    """

    users: pa.Array
    items: pa.Array
    times: NDArray[Any] | None
    weights: NDArray[np.float64] | None


@dataclass(frozen=True)
class LogInParts:
    """An `InteractionLog` that may outgrow memory, and so is read part by part.

    Attributes:
        source: its name, for messages.
        n_rows: rows that there are, broken ones included.
        parts: reads it: parts that follow each other.
        memory_mb: MiB that its interactions may take in memory at once.
        files: that it is read from, told apart by path, size and time of change.
    """

    source: str
    n_rows: int
    parts: Callable[[], Iterator[LogPart]]
    memory_mb: int
    files: Sequence[Path]

    def whole(self) -> InteractionLog:
        """All of it, in memory."""
        users, items, parts = Codes(), Codes(), list(self.parts())
        user_rows, item_rows = (
            np.concatenate([codes.of(column) for column in columns])
            for codes, columns in ((users, [part.users for part in parts]), (items, [part.items for part in parts]))
        )
        return InteractionLog(
            self.source, users.ids.to_pylist(), items.ids.to_pylist(), user_rows, item_rows,
            _joined([part.times for part in parts]), _joined([part.weights for part in parts]),
        )  # fmt: skip


def _joined(columns: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    there = [column for column in columns if column is not None]
    return np.concatenate(there) if there else None


class Codes:
    """Numbers ids in the order in which they first come.

    Attributes:
        ids: Arrow's strings: the ids in this order. No Python object stands for each.
    """

    def __init__(self) -> None:
        self.ids = pa.array([], pa.large_string())

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: pa.Array) -> Ints:
        """`(n,)` int64: the number of each."""
        ids = ids.cast(pa.large_string())
        codes = pc.index_in(ids, self.ids)
        if codes.null_count:  # looked up among themselves: a table of all ids takes long to make
            unknown = ids.filter(codes.is_null())
            new = unknown.unique()
            found = pc.add(pc.index_in(unknown, new), len(self.ids))
            codes = pc.replace_with_mask(codes, codes.is_null(), found.cast(codes.type))
            self.ids = pa.concat_arrays([self.ids, new])
        return np.asarray(codes.to_numpy(), np.int64)
