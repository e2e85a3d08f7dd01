"""Histograms for the terminal."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BAR = 40  # characters of the longest bar


def print_histogram(values: NDArray[np.int64], edges: Sequence[int], unit: str) -> None:
    """Print how many values lie in each of the ranges, with bars.

    Args:
        values: `(n,)` whole numbers.
        edges: where each range begins, ascending; the last has no end.
        unit: what the values are, such as `items`.
    """
    place = np.searchsorted(np.asarray(edges), values, side="right") - 1
    counts = np.bincount(place[place >= 0], minlength=len(edges))
    last = int(np.flatnonzero(counts).max(initial=0))
    names = [_name(low, high) for low, high in zip(edges, [*edges[1:], None], strict=True)][: last + 1]
    width = max(map(len, names))
    most = max(int(counts.max(initial=0)), 1)
    for name, count in zip(names, counts.tolist(), strict=False):
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        print(f"  {name:>{width}} {unit}  {bar} {count:,}")


def _name(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}+"
    return str(low) if high == low + 1 else f"{low}-{high - 1}"
