"""Scoring users against a catalogue that is too large for one matrix."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from recall_lightning.models.similarity import Similarity

SCORES_AT_ONCE = 2**24  # 64 MiB of float32


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
    users, items = at_least_float32(users), at_least_float32(items)
    step = max(1, scores_at_once // max(1, len(items)))
    left, right = factors(users, items, similarity)
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


@torch.no_grad()  # not around the generator's yield: there it would reach into the caller's code
def factors(users: Tensor, items: Tensor, similarity: Similarity) -> tuple[Tensor, Tensor]:
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


def at_least_float32(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
