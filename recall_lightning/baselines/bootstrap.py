"""Bootstrap: how far a mean over users would move with other users (Efron, 1979; percentile intervals)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_AT_ONCE = 2**24  # weights in memory


def intervals(values: Floats, *, against: int | None = None, resamples: int = 1000, seed: int = 0) -> dict[str, Floats]:
    """95% intervals of means over users, and of their differences to one column's, all on the same resampled users.

    Args:
        values: `(users, columns)`; NaN where a user has no value, who then counts in no mean of that column.
        against: the column that the others are compared with; None for no comparison.
        resamples: how many times as many users are drawn, with replacement.
        seed: of the draws.

    Returns:
        `mean`, `low`, `high` and, with `against`, `difference`, `difference_low`, `difference_high`: each
        `(columns,)`, NaN in a column without any value.
    """
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    n_users = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _AT_ONCE // max(n_users, 1))
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        weights = _weights(rng, stop - start, n_users)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[start:stop] = (weights @ filled) / (weights @ present)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / present.sum(0)
    found = {"mean": mean, **_spread("", means)}
    if against is not None:
        found |= {"difference": mean - mean[against], **_spread("difference_", means - means[:, [against]])}
    return found


def _weights(rng: np.random.Generator, resamples: int, n_users: int) -> Floats:
    """`(resamples, users)`: how often each user is drawn."""
    drawn = rng.integers(0, max(n_users, 1), (resamples, n_users))
    flat = (drawn + np.arange(resamples)[:, None] * n_users).ravel()
    counts: Any = np.bincount(flat, minlength=resamples * n_users)
    return np.asarray(counts, np.float64).reshape(resamples, n_users)


def _spread(name: str, means: Floats) -> dict[str, Floats]:
    low = np.full(means.shape[1], np.nan)
    high = low.copy()
    able = ~np.isnan(means).any(0)
    if able.any():
        low[able], high[able] = np.percentile(means[:, able], [2.5, 97.5], axis=0)
    return {f"{name}low": low, f"{name}high": high}
