"""Columns of a table turned into an `InteractionLog`."""

import math
from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recall_lightning.data.interaction_log import InteractionLog, LogPart
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.entities import EMPTY_ID
from recall_lightning.data.readers.tables import column

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_WHOLE = r"^\s*-?\d{1,18}\s*$"


def interaction_log(
    table: pa.Table, sieve: Sieve, *, user: str = "user_id", item: str = "item_id", time: str = "timestamp",
    weight: str = "weight", required: Collection[str] = (),
) -> InteractionLog:  # fmt: skip
    """Take the interactions out of a table.

    Args:
        table: its rows.
        sieve: of the file it came from.
        user, item: names of the columns of ids.
        time, weight: names of the columns of seconds (or ISO 8601) and weights; used where the table has them.
        required: columns that must be there all the same.

    Raises:
        InputError: if a column of ids or one of `required` is missing, or more rows than may be are broken: an id is
            empty, or a time or weight is no number.
    """
    sieve.begin(len(table), "interaction")
    rows = usable_interactions(table, sieve, user=user, item=item, time=time, weight=weight, required=required)
    sieve.finish(len(rows.users))
    user_ids, users = _codes(rows.users)
    item_ids, items = _codes(rows.items)
    return InteractionLog(sieve.path.name, user_ids, item_ids, users, items, rows.times, rows.weights)


def usable_interactions(
    table: pa.Table, sieve: Sieve, *, user: str, item: str, time: str, weight: str, required: Collection[str] = ()
) -> LogPart:
    """As `interaction_log`, of a part of a file: the sieve isn't told where the file begins and ends."""
    for name in required:
        column(table, name, sieve.path)
    for name in (user, item):
        filled = pc.not_equal(column(table, name, sieve.path), "").to_numpy(zero_copy_only=False)
        table = sieve.sift(table, filled, f"{name} is empty", EMPTY_ID)
    times = weights = None
    if time in table.column_names:
        times, readable = _times(table[time])
        if not readable.all():
            table = _sift_values(
                table, sieve, readable, time, "is neither seconds nor ISO 8601",
                "Write 978300760 or 2000-12-31T22:12:40, or drop the column: then row order is time order",
            )  # fmt: skip
            times, _ = _times(table[time])  # again: whole seconds among themselves keep every digit
    if weight in table.column_names:
        weights, readable = _weights(table[weight])
        times = times if times is None else times[readable]
        weights = weights[readable]
        table = _sift_values(
            table, sieve, readable, weight, "is no number", "Write one, such as 4.5, or drop the column"
        )  # fmt: skip
    return LogPart(column(table, user, sieve.path), column(table, item, sieve.path), times, weights)


def _sift_values(
    table: pa.Table, sieve: Sieve, readable: NDArray[np.bool_], name: str, wrong: str, cure: str
) -> pa.Table:  # fmt: skip
    values = table[name]

    def shown(row: int) -> str:
        value = values[row]
        return (
            f"{name} {value.cast(pa.string()).as_py() if pa.types.is_temporal(value.type) else value.as_py()!r} {wrong}"
        )

    return sieve.sift(table, readable, f"{name} {wrong}", cure, shown)


def _codes(values: pa.Array) -> tuple[list[str], NDArray[np.int64]]:
    encoded = values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _times(values: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Seconds, int64 where all are whole, and which are readable."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        micros = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).fill_null(0).to_numpy()
        fine = (micros % 1_000_000).any()
        return micros / 1e6 if fine else micros // 1_000_000, values.is_valid().to_numpy()
    if pa.types.is_integer(values.type) and not values.null_count:
        return np.asarray(values.to_numpy(), np.int64), np.ones(len(values), bool)
    strings = values.cast(pa.string()).fill_null("").combine_chunks()
    if pc.all(pc.match_substring_regex(strings, _WHOLE)).as_py():
        seconds = pc.utf8_trim_whitespace(strings).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(seconds, np.int64), np.ones(len(strings), bool)
    number = pc.match_substring_regex(strings, _NUMBER)
    plain = pc.utf8_trim_whitespace(pc.if_else(number, strings, "nan"))
    seconds = pc.utf8_ltrim(plain, "+").cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
    for row in np.flatnonzero(~number.to_numpy(zero_copy_only=False)).tolist():  # ISO 8601: each may be wrong by itself
        seconds[row] = _moment(strings[row].as_py())
    readable = np.isfinite(seconds)
    whole = np.where(readable, seconds, 0).astype(np.int64)
    return whole if (whole == seconds)[readable].all() else seconds, readable


def _moment(text: str) -> float:
    """Seconds of an ISO 8601 time, of UTC where it names no zone; not a number where it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return moment.timestamp() if moment.tzinfo else (moment - datetime(1970, 1, 1)).total_seconds()


def _weights(values: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Weights, and which are readable."""
    try:
        weights = np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowInvalid:
        strings = values.cast(pa.string()).fill_null("")
        plain = pc.utf8_trim_whitespace(pc.if_else(pc.match_substring_regex(strings, _NUMBER), strings, "nan"))
        weights = np.asarray(pc.utf8_ltrim(plain, "+").cast(pa.float64()).to_numpy(), np.float64)
    return weights, np.isfinite(weights)
