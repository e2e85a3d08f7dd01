"""Keys: integers that sort by score descending, then by row ascending, so that equal scores are decided exactly."""

import numpy as np
from numpy.typing import NDArray

NONE = np.iinfo(np.int64).max  # the key of what isn't there: it sorts last
_LAST_ROW = 2**32 - 1

Keys = NDArray[np.int64]
Values = NDArray[np.float32]


def keys_of(values: Values, rows: Keys | int = _LAST_ROW) -> Keys:
    """Make keys.

    Args:
        values: `(...)` float32, no NaN.
        rows: `(...)` int64 from 0, below 2**32; the last of all unless given.

    Returns:
        `(...)` int64.
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0.0, which equals 0.0, becomes it
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys: Keys = (~ascending).astype(np.int64) << 32 | rows
    return keys


def values_of(keys: Keys) -> Values:
    """The values of `keys_of`, float32; -inf of `NONE`."""
    ascending = ~(keys >> 32).astype(np.int32)
    values = (ascending ^ ((ascending >> 31) & 0x7FFFFFFF)).view(np.float32)
    return np.where(keys == NONE, np.float32(-np.inf), values)


def rows_of(keys: Keys) -> Keys:
    """The rows of `keys_of`; -1 of `NONE`."""
    return np.where(keys == NONE, -1, keys & _LAST_ROW)
