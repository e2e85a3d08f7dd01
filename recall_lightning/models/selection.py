"""The best columns of rows of scores that are there whole."""

import torch
from torch import Tensor

GROUP = 64  # columns, see `best_columns`


def best_columns(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k best of each row: exact, by score descending, equal scores by lower column.

    Wide rows are looked through in groups of neighbouring columns first: the k groups of the highest maxima hold the k
    best. For a group that is left out, each of those has a column that is as good or better, and where it is as good it
    is a lower one, since equal maxima are taken by lower group.

    Args:
        scores: `(users, columns)` float.
        k: at most the columns.

    Returns:
        `(users, k)` scores and `(users, k)` int64 columns.
    """
    n_whole, rest = divmod(scores.shape[1], GROUP)
    if n_whole <= 2 * k:
        return _best_columns(scores, k)
    maxima = scores[:, : n_whole * GROUP].view(-1, n_whole, GROUP).amax(-1)
    if rest:
        maxima = torch.cat([maxima, scores[:, -rest:].amax(-1, keepdim=True)], 1)
    groups = _best_columns(maxima, k)[1].sort(-1).values
    columns = (groups[..., None] * GROUP + torch.arange(GROUP, device=scores.device)).flatten(1)  # ascending
    found = scores.gather(1, columns.clamp(max=scores.shape[1] - 1))
    if rest:
        found.masked_fill_(columns >= scores.shape[1], -torch.inf)
    values, places = _best_columns(found, k)
    return values, columns.gather(1, places)


def _best_columns(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `best_columns`, looking through whole rows.

    `torch.topk` leaves open which of equal scores it returns and in which order: rows in which some are equal are done
    again.
    """
    values, columns = scores.topk(min(k + 1, scores.shape[1]))
    equal = (values[:, 1:] == values[:, :-1]).any(1)
    values, columns = values[:, :k], columns[:, :k]
    if bool(equal.any()):
        values[equal], columns[equal] = _best_of_equal(scores[equal], values[equal, -1:], k)
    return values, columns


def _best_of_equal(scores: Tensor, kth: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `best_columns`, of rows of which the k-th best score `(users, 1)` is known."""
    above, tied = scores > kth, scores == kth
    places_left = k - above.sum(-1, keepdim=True)
    kept = above | (tied & (tied.cumsum(-1, dtype=torch.int32) <= places_left))  # exactly k a row
    columns = kept.nonzero()[:, 1].view(len(scores), k)  # ascending, and the sort is stable
    values, order = scores.gather(1, columns).sort(dim=-1, descending=True, stable=True)
    return values, columns.gather(1, order)
