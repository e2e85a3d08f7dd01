"""Scoring users against a catalogue that is too large for one matrix."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from recall_lightning.models.similarity import Similarity

SCORES_AT_ONCE = 2**24  # 64 MiB of float32
GROUP = 64  # columns, see `best_columns`


def score_chunks(
    users: Tensor,
    items: Tensor,
    similarity: Similarity,
    *,
    added: Callable[[slice], Tensor] | None = None,
    known: Tensor | None = None,
    candidates: Tensor | None = None,
    scores_at_once: int = SCORES_AT_ONCE,
) -> Iterator[tuple[slice, Tensor]]:
    """Score a few users at a time, without gradients, and set aside what they must not be offered.

    Scores are computed in float32 at least, even under autocast: bfloat16 has 8 significant bits, so a large catalogue
    would be full of ties.

    Args:
        users: `(users, dim)` float.
        items: `(items, dim)` float.
        similarity: gives the scores.
        added: gives what is added to them, `(users in slice, items)` float of a slice of `users`; None for nothing.
        known: `(users, n)` int64 rows of `items` that each user has met already, `-1` pads; their score is -inf.
        candidates: `(items,)` bool, which items may be offered at all; the others' score is -inf.
        scores_at_once: the most scores in memory at a time; a single user's row is never cut.

    Yields:
        A slice of `users` and their `(users in slice, items)` scores. The caller may overwrite them, and the next
        scores do: they stand in the same memory, since a system takes longer to hand out new memory than to fill it.

    Raises:
        ValueError: if a score is NaN.
    """
    users, items = _at_least_float32(users), _at_least_float32(items)
    step = max(1, scores_at_once // max(1, len(items)))
    left, right = _factors(users, items, similarity)
    memory = left.new_empty(min(step, len(users)), len(items))
    for start in range(0, len(users), step):
        chunk = slice(start, min(start + step, len(users)))
        scores = _finite_scores(left[chunk], right, similarity, chunk, memory[: chunk.stop - chunk.start])
        if added is not None:
            scores += added(chunk).to(scores.dtype)
        yield chunk, set_aside(scores, known=None if known is None else known[chunk], candidates=candidates)


def set_aside(scores: Tensor, *, known: Tensor | None = None, candidates: Tensor | None = None) -> Tensor:
    """Give -inf, in place, to what must not be offered.

    Args:
        scores: `(users, items)` float.
        known: `(users, n)` int64 columns of `scores` that each user has met already, `-1` pads.
        candidates: `(items,)` bool, which items may be offered at all.

    Returns:
        `scores`.
    """
    if candidates is not None:
        scores.masked_fill_(~candidates, -torch.inf)
    if known is not None:
        rows, columns = (known >= 0).nonzero(as_tuple=True)
        scores[rows, known[rows, columns]] = -torch.inf
    return scores


def members(rows: Tensor, n_items: int) -> Tensor:
    """`(users, items)` bool: which items are among each user's `rows`, `(users, n)` int64, `-1` pads."""
    found = torch.zeros(len(rows), n_items + 1, dtype=torch.bool, device=rows.device)
    return found.scatter_(1, torch.where(rows >= 0, rows, n_items), True)[:, :-1]


def top_k(
    users: Tensor,
    items: Tensor,
    similarity: Similarity,
    k: int,
    *,
    added: Callable[[slice], Tensor] | None = None,
    known: Tensor | None = None,
    candidates: Tensor | None = None,
    rescored: Callable[[slice, Tensor], Tensor] | None = None,
    scores_at_once: int = SCORES_AT_ONCE,
) -> tuple[Tensor, Tensor]:
    """Find each user's k best items: exact, by score descending, equal scores by lower catalogue row.

    Args:
        users: `(users, dim)` float.
        items: `(items, dim)` float.
        similarity: gives the scores.
        k: items a user; may exceed the catalogue.
        added: as in `score_chunks`.
        known: as in `score_chunks`.
        candidates: as in `score_chunks`.
        rescored: gives the scores to rank by, of a slice of `users` and their `(users in slice, items)` scores; known
            items are set aside before, and items that are no candidates after, so that no score depends on these.
        scores_at_once: as in `score_chunks`.

    Returns:
        `(users, k)` float scores and `(users, k)` int64 rows of `items`; -inf and `-1` where candidates run out.

    Raises:
        ValueError: if k is below 1, or a score is NaN.
    """
    if k < 1:
        raise ValueError(f"k is {k}, but a list holds at least one item: give k of 1 or more, such as 10")
    width = min(k, len(items))
    best = _at_least_float32(users).new_full((len(users), k), -torch.inf)
    best_rows = torch.full((len(users), k), -1, dtype=torch.int64, device=users.device)
    chunks = score_chunks(users, items, similarity, added=added, known=known, scores_at_once=scores_at_once)
    for chunk, scores in chunks:
        scores = scores if rescored is None else rescored(chunk, scores)
        set_aside(scores, candidates=candidates)
        best[chunk, :width], best_rows[chunk, :width] = best_columns(scores, width)
    return best, best_rows.masked_fill_(best == -torch.inf, -1)


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


@torch.no_grad()  # not around the generator's yield: there it would reach into the caller's code
def _factors(users: Tensor, items: Tensor, similarity: Similarity) -> tuple[Tensor, Tensor]:
    with torch.autocast(users.device.type, enabled=False):
        return similarity.factors(users, items)


@torch.no_grad()
def _finite_scores(left: Tensor, right: Tensor, similarity: Similarity, chunk: slice, memory: Tensor) -> Tensor:
    with torch.autocast(left.device.type, enabled=False):
        scores = similarity.product(left, right, memory)
    if scores.numel() and scores.amax().isnan():
        raise ValueError(
            f"scores of users {chunk.start} to {chunk.stop - 1} contain NaN: the weights have diverged. Use an earlier "
            "checkpoint, or train again with a lower learning rate or with gradient clipping"
        )
    return scores


def _at_least_float32(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
