"""Lists of unequal length, stored as one flat array with offsets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def spans(starts: Ints, stops: Ints) -> Ints:
    """All positions of the half-open spans `[start, stop)`, one span after the other.

    Args:
        starts: `(spans,)` int64.
        stops: `(spans,)` int64, `stop >= start`.

    Returns:
        `(sum of lengths,)` int64: for `[3, 8)` and `[1, 3)` it is `3 4 5 6 7 1 2`.
    """
    lengths = stops - starts
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def pad(values: NDArray[Any], lengths: Ints, *, fill: int, left: bool = False) -> NDArray[Any]:
    """Lay flat values out as rows of equal width.

    Args:
        values: `(sum of lengths,)`, row after row.
        lengths: `(rows,)` int64.
        fill: what stands where a row has no value.
        left: whether the filling stands before the values (the last column is then each row's last value).

    Returns:
        `(rows, longest)`, at least one column wide.
    """
    width = max(int(lengths.max(initial=0)), 1)
    columns = np.arange(width)
    present = columns >= width - lengths[:, None] if left else columns < lengths[:, None]
    rows = np.full((len(lengths), width), fill, dtype=values.dtype)
    rows[present] = values
    return rows


def offsets_of(lengths: Ints) -> Ints:
    """`(rows + 1,)` int64: where each row starts in the flat array, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
