"""Recommendations as a table, and as a file."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recall_lightning.errors import InputError

SCHEMA = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("rank", pa.int64()), ("score", pa.float32())])


@dataclass(frozen=True)
class Recommendations:
    """Ranked items of some users.

    Attributes:
        table: columns `user_id`, `item_id`, `rank` (from 1) and `score`; users in the order asked, rank ascending.
        unknown_items: interactions of the histories that were skipped, their items being unknown.
        users_without_history: users of whom nothing usable was known: they got the most popular items.
    """

    table: pa.Table
    unknown_items: int
    users_without_history: int

    def of(self, user_id: str) -> list[tuple[str, float]]:
        """`(item_id, score)` of one user, best first."""
        rows = self.table.filter(pa.compute.equal(self.table["user_id"], user_id)).to_pydict()
        return list(zip(rows["item_id"], rows["score"], strict=True))


def write(tables: Iterable[pa.Table], path: Path) -> None:
    """Write tables one after the other to a CSV or Parquet file, whole or not at all.

    Raises:
        InputError: if the folder doesn't exist, or the name ends otherwise.
    """
    check_writable(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False) as file:
        try:
            make = pq.ParquetWriter if path.suffix == ".parquet" else pacsv.CSVWriter
            with make(file, SCHEMA) as writer:
                for table in tables:
                    writer.write_table(table)
        except BaseException:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def check_writable(path: Path) -> None:
    """Raise InputError where recommendations can't be written to `path`."""
    if path.suffix not in {".csv", ".parquet"}:
        raise InputError(f"--out {path}: '{path.suffix}' is no kind of file to write. Let it end in .csv or .parquet")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: no folder {path.parent}. Make it first")
