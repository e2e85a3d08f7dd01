"""Columns of a table turned into an `InteractionLog`."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recall_lightning.data.interactions import InteractionLog
from recall_lightning.data.readers.tables import column, editor_line
from recall_lightning.errors import InputError


def interaction_log(
    table: pa.Table, path: Path, *, user: str = "user_id", item: str = "item_id", time: str = "timestamp",
    weight: str = "weight", first_row: int = 2
) -> InteractionLog:  # fmt: skip
    """Take the interactions out of a table.

    Args:
        table: its rows.
        path: the file it came from, for messages.
        user, item: names of the columns of ids.
        time, weight: names of the columns of seconds (or ISO 8601) and weights; used where the table has them.
        first_row: the line of the table's first row in the file (2 where there is a header).

    Raises:
        InputError: if a column of ids is missing, an id is empty, or a time or weight is no number.
    """
    if len(table) == 0:
        raise InputError(f"{path}: no row after the header. Each interaction needs one")
    user_ids, users = _codes(column(table, user, path), user, path, first_row)
    item_ids, items = _codes(column(table, item, path), item, path, first_row)
    times = _times(table[time], path, first_row) if time in table.column_names else None
    weights = _weights(table[weight], path, first_row) if weight in table.column_names else None
    return InteractionLog(path.name, user_ids, item_ids, users, items, times, weights)


def _codes(values: pa.Array, name: str, path: Path, first_row: int) -> tuple[list[str], NDArray[np.int64]]:
    encoded = values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    ids = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if "" in ids:
        row = editor_line(path, int(np.flatnonzero(codes == ids.index(""))[0]), first_row)
        raise InputError(f"{path}, row {row}: {name} is empty. Fill it in, or take the row out")
    return ids, codes


def _times(values: pa.ChunkedArray, path: Path, first_row: int) -> NDArray[Any]:
    """Seconds, int64 where all are whole."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        if values.null_count:
            row = int(np.flatnonzero(values.is_null().to_numpy())[0])
            raise _wrong_time(None, editor_line(path, row, first_row), path)
        micros: NDArray[np.int64] = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy()
        return micros // 1_000_000 if not (micros % 1_000_000).any() else micros / 1e6
    if pa.types.is_integer(values.type) and not values.null_count:
        return np.asarray(values.to_numpy(), np.int64)
    strings = values.cast(pa.string()).fill_null("").combine_chunks()
    integer = pc.match_substring_regex(strings, r"^\s*-?\d{1,18}\s*$")
    if pc.all(integer).as_py():
        return np.asarray(pc.utf8_trim_whitespace(strings).cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
    number = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
    seconds = np.empty(len(strings), np.float64)
    for row, text in enumerate(strings.to_pylist()):  # mixed and ISO 8601 times: rare, and each may be wrong by itself
        if number.fullmatch(text):
            seconds[row] = float(text)
        else:
            try:
                moment = datetime.fromisoformat(text.strip())
            except ValueError:
                raise _wrong_time(text, editor_line(path, row, first_row), path) from None
            seconds[row] = (moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo)).total_seconds()
            if moment.tzinfo is not None:
                seconds[row] = moment.timestamp()
    if not np.isfinite(seconds).all():
        row = int(np.flatnonzero(~np.isfinite(seconds))[0])
        raise _wrong_time("inf", editor_line(path, row, first_row), path)
    whole = seconds.astype(np.int64)
    return whole if (whole == seconds).all() else seconds


def _wrong_time(text: str | None, row: int, path: Path) -> InputError:
    return InputError(
        f"{path}, row {row}: timestamp {text!r} is neither seconds nor ISO 8601. Write 978300760 or "
        "2000-12-31T22:12:40, or drop the column: then row order is time order"
    )


def _weights(values: pa.ChunkedArray, path: Path, first_row: int) -> NDArray[np.float64]:
    try:
        weights = np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)
        wrong = ~np.isfinite(weights)
    except pa.ArrowInvalid:
        strings = values.cast(pa.string()).fill_null("")
        wrong = ~pc.match_substring_regex(strings, r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$").to_numpy()
        if not wrong.any():
            return np.array([float(text) for text in strings.to_pylist()])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}, row {editor_line(path, row, first_row)}: weight {values[row].as_py()!r} is no number. Write one, "
            "such as 4.5, or drop the column"
        )
    return weights
