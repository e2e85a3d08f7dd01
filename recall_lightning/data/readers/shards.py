"""Interactions in Parquet shards, read so many rows at a time."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from recall_lightning.errors import InputError

T = TypeVar("T")


def shards_of(path: Path) -> list[Path] | None:
    """The shards that a path names.

    Args:
        path: a folder, of which all `*.parquet` are meant, however deep (names that begin with `_` or `.` are those of
            other programs' own files); or a pattern such as `logs/2024-*.parquet`.

    Returns:
        Shards in the order of their paths, which is that of their rows; None where `path` is a single file.

    Raises:
        InputError: if it names none.
    """
    if path.is_dir():
        inside = (file for file in path.rglob("*.parquet") if file.is_file())
        found = [file for file in inside if not any(part[0] in "_." for part in file.relative_to(path).parts)]
        what = "no Parquet shard (*.parquet) is in this folder"
    elif not path.exists() and any(sign in str(path) for sign in "*?["):
        root = Path(path.anchor)
        found = [file for file in root.glob(str(path.relative_to(root))) if file.is_file()]
        what = "no file has such a name"
    else:
        return None
    if not found:
        raise InputError(f"{path}: {what}. Give a folder or a pattern that names shards, such as logs/*.parquet")
    return sorted(found)


def check_shards(shards: Sequence[Path], columns: Collection[str]) -> int:
    """Refuse shards that don't have the same of some columns.

    Args:
        shards: their paths.
        columns: what all of them have or none.

    Returns:
        How many rows they have.

    Raises:
        InputError: naming the first shard that can't be read, or differs from the first of all.
    """
    n_rows, first = 0, set(columns)
    for shard in shards:
        with _opened(shard) as file:
            names, n_rows = file.schema_arrow.names, n_rows + file.metadata.num_rows
        there = {name for name in columns if name in names}
        twice = {name for name in columns if names.count(name) > 1}
        if twice:
            raise InputError(f"{shard}: column '{min(twice)}' stands twice. Rename one")
        first = there if shard == shards[0] else first
        if there != first:
            name = min(there ^ first)
            one, other = (shard, shards[0]) if name in first else (shards[0], shard)
            raise InputError(f"{one}: no column '{name}', but {other.name} has it. Write all shards with one or none")
    if not n_rows:
        raise InputError(f"{shards[0]}: no row here, nor in any other shard. Each interaction needs one")
    return n_rows


def read_batches(shard: Path, columns: Collection[str], rows: int) -> Iterator[pa.Table]:
    """A shard's rows in their order, at most so many at a time.

    Args:
        shard: its path.
        columns: those to read, of what it has.
        rows: most rows of a table.

    Raises:
        InputError: if it can't be read.
    """
    with _opened(shard) as file:
        names = [name for name in file.schema_arrow.names if name in columns]
        batches = file.iter_batches(rows, columns=names, use_threads=False)
        while (batch := _tried(shard, lambda: next(batches, None))) is not None:
            yield pa.Table.from_batches([batch])


def _opened(shard: Path) -> pq.ParquetFile:
    # mapped, so that a large row group is not read into memory as a whole
    return _tried(shard, lambda: pq.ParquetFile(shard, memory_map=True))


def _tried(shard: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{shard}: no readable Parquet file ({str(error).splitlines()[0]}). Write it again") from error
