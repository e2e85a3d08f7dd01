"""The n-th smallest of many numbers, which need not fit into memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 2**20
_DIGIT = 16  # bits that a pass finds out
_TOP = np.uint64(1 << 63)


def nth_smallest(values: NDArray[Any], n: int) -> Any:
    """What stands at place `n` of the values in ascending order.

    Four passes find its 64 bits, 16 a pass: each counts, of the values that begin as is known so far, what follows.

    Args:
        values: `(values,)` int64 or float64, none of them NaN.
        n: from 0.
    """
    prefix = np.uint64(0)
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(2**_DIGIT, np.int64)
        for at in range(0, len(values), _AT_ONCE):
            digits = _keys(values[at : at + _AT_ONCE]) >> np.uint64(shift)
            inside = digits >> np.uint64(_DIGIT) == prefix
            counts += np.bincount((digits[inside] & np.uint64(2**_DIGIT - 1)).astype(np.int64), minlength=len(counts))
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, n, side="right"))
        n -= int(below[digit] - counts[digit])
        prefix = prefix << np.uint64(_DIGIT) | np.uint64(digit)
    return _value(prefix, values.dtype)


def _keys(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Unsigned integers in the values' order."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    if values.dtype.kind == "i":
        return bits ^ _TOP
    return np.where(bits & _TOP, ~bits, bits | _TOP)  # of negative floats, larger bits are smaller numbers


def _value(key: np.uint64, dtype: Any) -> Any:
    if np.dtype(dtype).kind == "i":
        return (key ^ _TOP).view(dtype)
    return (key ^ _TOP if key & _TOP else ~key).view(dtype)
