"""Recommendations as a table, and as a file."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recall_lightning.errors import InputError
from recall_lightning.whole import written_whole

SCHEMA = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("rank", pa.int64()), ("score", pa.float32())])


@dataclass(frozen=True)
class Recommendations:
    """Ranked items of some users.

    Attributes:
        table: columns `user_id`, `item_id`, `rank` (from 1) and `score`; users in the order asked, rank ascending.
        unknown_items: interactions of the histories that were skipped, their items being unknown.
        users_without_history: users of whom nothing usable was known: they got the most popular items, or under a
            threshold none.
        diverged: users who were to be adapted to, but whose inner loop diverged: they got the unadapted answer.
    """

    table: pa.Table
    unknown_items: int
    users_without_history: int
    diverged: int = 0

    def of(self, user_id: str) -> list[tuple[str, float]]:
        """`(item_id, score)` of one user, best first."""
        rows = self.table.filter(pc.equal(self.table["user_id"], user_id)).to_pydict()
        return list(zip(rows["item_id"], rows["score"], strict=True))


def table_of(
    user_ids: Sequence[str], item_ids: Sequence[str], rows: NDArray[np.int64], scores: NDArray[np.float32],
    more: Mapping[str, pa.Array] = MappingProxyType({}),
) -> pa.Table:  # fmt: skip
    """Ranked rows of the catalogue as a table of recommendations.

    Args:
        user_ids: `(users,)`.
        item_ids: `(items,)` the catalogue's ids.
        rows: `(users, k)` int64, best first, -1 where there is no more.
        scores: `(users, k)` float32.
        more: columns behind the others, of a value for each row that is no -1.
    """
    present = rows >= 0
    items = pa.array(item_ids, pa.string()).take(pa.array(rows[present]))
    ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1), rows.shape)[present]
    users = pa.array(user_ids, pa.string()).take(pa.array(np.repeat(np.arange(len(user_ids)), present.sum(1))))
    table = pa.table([users, items, pa.array(ranks), pa.array(scores[present], pa.float32())], schema=SCHEMA)
    for name, values in more.items():
        table = table.append_column(name, values)
    return table


def write(tables: Iterable[pa.Table], path: Path) -> None:
    """Write tables of the same columns, one after the other, to a CSV or Parquet file, whole or not at all.

    In CSV a list is written as JSON.

    Raises:
        InputError: if the folder doesn't exist, or the name ends otherwise.
    """
    check_writable(path)
    with written_whole(path) as file:
        stream = iter(tables)
        first = next(stream, SCHEMA.empty_table())
        (_write_parquet if path.suffix == ".parquet" else _write_csv)(chain([first], stream), first.schema, file)


def _write_parquet(tables: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> None:
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _write_csv(tables: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> None:
    """Quotes only where an id needs it, unlike Arrow's writer."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(schema.names)
    for table in tables:
        writer.writerows(zip(*(_cells(column) for column in table.columns), strict=True))
    text.flush()
    text.detach()


def _cells(column: pa.ChunkedArray) -> list[str]:
    if not pa.types.is_list(column.type):
        cells: list[str] = column.cast(pa.string()).to_pylist()
        return cells
    if pa.types.is_float32(column.type.value_type):  # as short as the numbers of other columns
        flat = iter(column.combine_chunks().flatten().cast(pa.string()).to_pylist())
        lengths = pc.list_value_length(column).to_pylist()
        return [f"[{', '.join(next(flat) for _ in range(length))}]" for length in lengths]
    return [json.dumps(cell, ensure_ascii=False) for cell in column.to_pylist()]


def check_writable(path: Path) -> None:
    """Raise InputError where recommendations can't be written to `path`."""
    if path.suffix not in {".csv", ".parquet"}:
        raise InputError(f"--out {path}: '{path.suffix}' is no kind of file to write. Let it end in .csv or .parquet")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: no folder {path.parent}. Make it first")
