"""A sweep over a catalogue in blocks of scores, of which only the best are kept.

Scores of some thousand items stand in memory at a time, items by users, always in the same place, so that they stay in
the processor's cache. The maxima of groups of neighbouring items tell where to look: only at groups whose maximum
reaches what is known of the user's k-th best score. In the first block that is the k-th best maximum, later on the k-th
best score that was found. What is found is held as integers that sort as `(score descending, row ascending)`, so that
equal scores are decided by the row, exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recall_lightning.models.keys import NONE, Keys, Values, keys_of, values_of
from recall_lightning.models.selection import best_columns

BLOCK = 8192  # items of one matrix product
_GROUPS = (8, 32)  # least and most items of a group
_CROWDED = 0.5  # share of the scores from which on looking at groups is no help
_PENDING = 4  # times k: most that is found of a user, in the mean, before it is sorted


@dataclass(frozen=True)
class Reach:
    """Whose scores are kept beside the k best: those not proven worse, where scores are known but nearly.

    Attributes:
        least: of the k-th best score found `(users,)` the least that is kept.
        width: most that are kept of a user.
    """

    least: Callable[[Values], Values]
    width: int


class CrowdedError(Exception):
    """More scores are within reach of the k best than are worth looking at."""


@torch.no_grad()
def sweep(
    left: Tensor,
    right: Tensor,
    k: int,
    *,
    known: Tensor | None = None,
    candidates: Tensor | None = None,
    reach: Reach | None = None,
    block: int = BLOCK,
) -> Keys:
    """Find each user's k best items, or all that may be among them, `block` scores a user at a time.

    Args:
        left: `(users, width)` float32 or bfloat16 on a CPU, such that no score is NaN or infinite.
        right: `(items, width)` of the same type; inner products with `left` are the scores.
        k: 1 or more.
        known: `(users, n)` int64 rows of `right` that are left out, `-1` pads.
        candidates: `(items,)` bool, the only items that are not.
        reach: which items are kept beside the k best; None for none, as for bfloat16 it must not be.
        block: items at a time.

    Returns:
        `(users, at most k, or at most reach.width)` keys, ascending; `NONE` where candidates run out.

    Raises:
        CrowdedError: if there is a reach and more items are within it, or what it reaches is not positive.
    """
    found = _Found(len(left), k, reach)
    aside = _Aside(known, candidates)
    across = left.T.contiguous()
    group = _group(min(block, len(right)), k)
    n_rows = -(-min(block, len(right)) // group) * group
    memory = left.new_empty(n_rows, len(left))  # (items, users): maxima of rows are the fastest
    maxima = left.new_empty(n_rows // group, len(left))
    for first in range(0, len(right), block):
        part = right[first : first + block]
        scores = torch.mm(part, across, out=memory[: len(part)])
        aside.mask(scores, first)
        n_groups = -(-len(part) // group)
        memory[len(part) : n_groups * group] = -torch.inf
        groups = _comparable(memory[: n_groups * group]).view(n_groups, group, -1)
        best = torch.amax(groups, 1, out=_comparable(maxima[:n_groups]))
        if not first:
            found.reach(_kth_of_groups(best, k))
        reached = best.numpy() >= found.least
        if np.count_nonzero(reached) > _CROWDED * reached.size:
            if reach is not None:
                raise CrowdedError
            found.add(*_of_all(scores, k, first))
        else:
            found.add(*_of_groups(groups.numpy(), reached, found.least, first))
    return found.sorted()


class _Found:
    """The best items of each user so far.

    Attributes:
        least: `(users,)` what a score must reach to count, as of `_comparable`.
    """

    least: NDArray[Any]

    def __init__(self, n_users: int, k: int, reach: Reach | None) -> None:
        self._keys: Keys = np.empty((n_users, 0), np.int64)
        self._k, self._reach = k, reach
        self._new: list[tuple[NDArray[np.int64], Keys]] = []
        self._n_blocks, self._due = 0, 1

    def reach(self, kth: Values) -> None:
        """Take note that k items of each user score at least `kth`, `(users,)`."""
        if self._reach is None:
            self.least = np.maximum(kth, np.finfo(np.float32).min)  # more than what is left out
            return
        least = self._reach.least(kth)
        if not (least > 0).all():
            raise CrowdedError
        self.least = (least.view(np.int32) >> 16).astype(np.int16)  # rounded down

    def add(self, users: NDArray[np.int64], keys: Keys) -> None:
        """Add what a block gave, `(n,)` users and keys; now and then sort, which raises what is to be reached."""
        self._new.append((users, keys))
        self._n_blocks += 1
        if self._n_blocks == self._due:
            self._due *= 2
            self._sort()
        elif sum(len(keys) for _, keys in self._new) > _PENDING * self._k * len(self._keys):
            self._sort()

    def sorted(self) -> Keys:
        """`(users, n)` keys, ascending."""
        self._sort()
        return self._keys

    def _sort(self) -> None:
        if not self._new:
            return
        users, keys = (np.concatenate(parts) for parts in zip(*self._new, strict=True))
        self._new = []
        n_users = len(self._keys)
        order = users.astype(np.min_scalar_type(n_users)).argsort(kind="stable")  # by radix, where they are few
        counts = np.bincount(users, minlength=n_users)
        places = np.arange(len(users)) - np.repeat(counts.cumsum() - counts, counts)
        table = np.full((n_users, int(counts.max(initial=0))), NONE)
        table[users[order], places] = keys[order]
        self._keys = np.sort(np.concatenate([self._keys, table], 1), axis=1)
        if self._keys.shape[1] >= self._k:
            self.reach(values_of(self._keys[:, self._k - 1]))
        if self._reach is None:
            self._keys = self._keys[:, : self._k]
            return
        beyond = self._keys > keys_of(_floats(self.least))[:, None]
        self._keys[beyond] = NONE
        self._keys = self._keys[:, : self._keys.shape[1] - int(beyond.sum(1).min())]
        if self._keys.shape[1] > self._reach.width:
            raise CrowdedError


class _Aside:
    """What is left out of the ranking, block by block."""

    def __init__(self, known: Tensor | None, candidates: Tensor | None) -> None:
        others = torch.empty(0, dtype=torch.int64) if candidates is None else (~candidates).nonzero()[:, 0]
        users, columns = torch.empty(2, 0, dtype=torch.int64)
        if known is not None:
            users, places = (known >= 0).nonzero(as_tuple=True)
            columns, order = known[users, places].sort()
            users = users[order]
        self._others, self._known, self._users = others, columns, users

    def mask(self, scores: Tensor, first: int) -> None:
        """Give -inf to what is left out of a block of scores `(items, users)`, of the items from `first` on."""
        bounds = torch.tensor([first, first + len(scores)])
        start, stop = torch.searchsorted(self._others, bounds).tolist()
        scores[self._others[start:stop] - first] = -torch.inf
        start, stop = torch.searchsorted(self._known, bounds).tolist()
        scores[self._known[start:stop] - first, self._users[start:stop]] = -torch.inf


def _group(n_items: int, k: int) -> int:
    """Items of a group, a power of two: looking at k groups then costs about as much as looking for them."""
    least, most = _GROUPS
    return min(max(least, 1 << round(math.log2(max(1, n_items / k)) / 2)), most)


def _comparable(scores: Tensor) -> Tensor:
    """Numbers in the order of the scores, where these are positive; none above those where they aren't.

    bfloat16 is compared as integers, which takes a quarter of the time.
    """
    return scores.view(torch.int16) if scores.dtype == torch.bfloat16 else scores


def _floats(comparable: NDArray[Any]) -> Values:
    """The scores, float32, of what `_comparable` gave."""
    if comparable.dtype == np.int16:
        comparable = (comparable.astype(np.int32) << 16).view(np.float32)
    return comparable


def _kth_of_groups(maxima: Tensor, k: int) -> Values:
    """`(users,)`: what k items of each user reach, by `(groups, users)` maxima; -inf if there are fewer groups."""
    while len(maxima) >= 4 * k:  # the maxima of larger groups tell nearly as much, and fewer are to be sorted
        maxima = maxima[: len(maxima) // 2 * 2].view(-1, 2, maxima.shape[1]).amax(1)
    if len(maxima) < k:
        return np.full(maxima.shape[1], -np.inf, np.float32)
    return _floats(np.sort(maxima.T.contiguous().numpy(), axis=1)[:, -k])


def _of_groups(
    scores: NDArray[Any], reached: NDArray[np.bool_], least: NDArray[Any], first: int
) -> tuple[NDArray[np.int64], Keys]:
    """Users and keys of the scores that are at least `least`, in the groups that reach it.

    Args:
        scores: `(groups, items, users)` as of `_comparable`.
        reached: `(groups, users)`.
        least: `(users,)` as of `_comparable`.
        first: row of the first item.

    Returns:
        `(n,)` int64 users and `(n,)` keys.
    """
    size = scores.shape[1]
    group, user = np.divmod(np.flatnonzero(reached), scores.shape[2])
    values = scores[group, :, user]  # (pairs, items)
    which = np.flatnonzero(values >= least[user][:, None])
    pair, place = np.divmod(which, size)
    rows = group[pair] * size + (place + first)
    return user[pair], keys_of(_floats(values.reshape(-1)[which]), rows)


def _of_all(scores: Tensor, k: int, first: int) -> tuple[NDArray[np.int64], Keys]:
    """As `_of_groups`, of the k best of `(items, users)` float32 scores, looking through all of them."""
    values, columns = best_columns(scores.T.contiguous(), min(k, len(scores)))
    users, places = np.nonzero(values.numpy() != -np.inf)
    return users, keys_of(values.numpy()[users, places], columns.numpy()[users, places] + first)
