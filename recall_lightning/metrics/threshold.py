"""Recall and precision of all items that reach a threshold alpha, for every alpha at once."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

_LOW_BITS = 14  # of a float32's 32; those above, its sign, exponent and 9 bits of its fraction, name a bin
_N_BINS = 2 ** (32 - _LOW_BITS)


class ThresholdPoint(NamedTuple):
    """What one threshold gives: `recall` and `precision` over all pairs, `items_per_user` on average."""

    alpha: float
    recall: float
    precision: float
    items_per_user: float


class ThresholdCurve:
    """Recall and precision by alpha; a pair of a user and an item is recalled if `s >= alpha`.

    No tuple and no dataclass: torchmetrics takes those apart, and makes a scalar of a curve of one threshold.

    Attributes:
        alpha: `(thresholds,)` float32, ascending; between two of them nothing changes at the metric's resolution.
        n_recalled: `(thresholds,)` int64, pairs with `s >= alpha`.
        hits: `(thresholds,)` int64, relevant ones among them.
        n_relevant: relevant pairs, those that no alpha recalls among them.
        n_users: users counted.
    """

    def __init__(self, alpha: Tensor, n_recalled: Tensor, hits: Tensor, *, n_relevant: int, n_users: int) -> None:
        self.alpha, self.n_recalled, self.hits = alpha, n_recalled, hits
        self.n_relevant, self.n_users = n_relevant, n_users

    @property
    def recall(self) -> Tensor:
        """`(thresholds,)` float64: `sum 1[s >= alpha] y / sum y`."""
        return self.hits.double() / max(self.n_relevant, 1)

    @property
    def precision(self) -> Tensor:
        """`(thresholds,)` float64: `sum 1[s >= alpha] y / sum 1[s >= alpha]`."""
        return self.hits.double() / self.n_recalled

    @property
    def items_per_user(self) -> Tensor:
        """`(thresholds,)` float64: pairs recalled, by users."""
        return self.n_recalled.double() / max(self.n_users, 1)

    def f_beta(self, beta: float) -> Tensor:
        """`(thresholds,)` float64: `(1 + b^2) P R / (b^2 P + R)`, recall counting b times as much as precision.

        Source: van Rijsbergen, Information Retrieval, 1979. Raises ValueError if beta is not above 0.
        """
        if not 0 < beta < math.inf:
            raise ValueError(f"beta is {beta}: give a number above 0, such as 1")
        return (1 + beta**2) * self.hits.double() / (beta**2 * self.n_relevant + self.n_recalled)

    def at(self, alpha: float) -> ThresholdPoint:
        """What a threshold gives; 0 for all where nothing reaches it.

        Args:
            alpha: a threshold of this curve or of another one, whose counts are exact here too; any other stands for
                the next one above.
        """
        place = int((self.alpha < alpha).sum())
        if place == len(self.alpha):
            return ThresholdPoint(alpha, 0.0, 0.0, 0.0)
        return self._point(place)._replace(alpha=alpha)

    def best(
        self,
        *,
        min_precision: float | None = None,
        max_items_per_user: float | None = None,
        beta: float | None = None,
    ) -> ThresholdPoint:
        """Choose alpha under a constraint, since recall alone is best where everything is recalled.

        Equally good thresholds: the highest one.

        Args:
            min_precision: most recall with at least this precision.
            max_items_per_user: most recall with at most so many items a user on average.
            beta: the best F-beta.

        Raises:
            ValueError: if not exactly one is given, beta is not above 0, no threshold meets the constraint (the best
                value in reach is told), or no user was counted.
        """
        given = {"min_precision": min_precision, "max_items_per_user": max_items_per_user, "beta": beta}
        constraints = {name: value for name, value in given.items() if value is not None}
        if len(constraints) != 1:
            raise ValueError(f"{len(constraints)} constraints are given: give exactly one of {', '.join(given)}")
        ((name, value),) = constraints.items()
        if not len(self.alpha):
            raise ValueError("there is no threshold to choose from: no user has both a candidate and a relevant item")
        if beta is not None:
            return self._point(_last_best(self.f_beta(beta)))
        if min_precision is not None:
            allowed, reach = self.precision >= min_precision, f"the highest in reach is {self.precision.max():.4g}"
        else:
            allowed, reach = self.items_per_user <= value, f"the fewest are {self.items_per_user.min():.4g}"
        if not allowed.any():
            raise ValueError(f"no threshold meets {name} {value:g}: {reach}. Ask for no better than that")
        return self._point(_last_best(torch.where(allowed, self.hits, -1)))

    def _point(self, place: int) -> ThresholdPoint:
        columns = (self.alpha, self.recall, self.precision, self.items_per_user)
        return ThresholdPoint(*(float(column[place]) for column in columns))


class RecallPrecisionAtThreshold(Metric):
    """Recall and precision as functions of the threshold, from a stream of scores in fixed memory.

    `recall = sum 1[s >= alpha] y / sum y` and `precision = sum 1[s >= alpha] y / sum 1[s >= alpha]`, both pooled over
    all pairs of a user and a candidate: a user with many relevant items counts more. A mean over users would need a
    curve a user, users times thresholds of memory, and has no precision where a user gets nothing.

    Scores are counted in bins of a float32's leading 18 bits (4 MiB in all). A threshold is a bin's lower edge, at
    which `s >= alpha` is counted exactly; edges lie 2**-10 apart from 0.5 to 1, and 1/512 of their own size or closer
    everywhere, so cosines, dot products and negative distances all fit. Counts are integers: no order of batches and
    no split over processes changes them.

    Users with nothing relevant are left out, their candidates too, and counted.

    Attributes:
        n_users: int64, users counted.
        n_skipped: int64, users left out.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    candidates: Tensor
    relevant: Tensor
    n_users: Tensor
    n_skipped: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("candidates", "relevant"):
            self.add_state(name, torch.zeros(_N_BINS, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("n_users", "n_skipped"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count a batch of users.

        Args:
            scores: `(users, items)` float, counted as float32; -inf where an item is no candidate.
            targets: `(users, relevant)` int64 columns of `scores`, `-1` pads, or `(users,)`. One named twice counts
                once; one that is no candidate is relevant, but recalled by no alpha.

        Raises:
            ValueError: if a score is NaN, or the numbers of users differ.
        """
        targets = targets[:, None] if targets.ndim == 1 else targets
        if len(scores) != len(targets):
            raise ValueError(
                f"scores are of {len(scores)} users, targets of {len(targets)}: give both for the same users"
            )
        if scores.numel() and scores.amax().isnan():
            raise ValueError(
                "scores contain NaN: the weights have diverged. Train with a lower learning rate or clipping"
            )
        ordered = targets.sort(dim=-1).values
        relevant = ordered >= 0  # (users, relevant)
        relevant[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        judged = relevant.any(-1)  # (users,)
        own = scores.gather(1, ordered.clamp(min=0))[relevant]
        self.relevant = self.relevant + _counts(own)
        self.candidates = self.candidates + _counts(scores if judged.all() else scores[judged])
        self.n_users = self.n_users + judged.sum()
        self.n_skipped = self.n_skipped + (~judged).sum()

    def compute(self) -> ThresholdCurve:
        """The curve, on the CPU, at the thresholds where something changes; none if no user was counted."""
        candidates, relevant = self.candidates.cpu(), self.relevant.cpu()
        n_relevant = int(relevant.sum())  # -inf has its own bin: relevant items that are no candidates count
        edges, order = _edges()
        n_recalled, hits = (bins[order].flip(0).cumsum(0).flip(0) for bins in (candidates, relevant))
        changes = (candidates[order] > 0) & ~edges.isnan()
        return ThresholdCurve(
            edges[changes], n_recalled[changes], hits[changes], n_relevant=n_relevant, n_users=int(self.n_users)
        )


def _counts(scores: Tensor) -> Tensor:
    """`(bins,)` int64: how many scores share each leading bits; negative ones stand behind, the least below 0 first."""
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0 makes 0.0 of -0.0, its equal with other bits
    return torch.bincount(((bits >> _LOW_BITS) & (_N_BINS - 1)).flatten(), minlength=_N_BINS)


def _edges() -> tuple[Tensor, Tensor]:
    """`(bins,)` float32 lower edges, ascending (NaN: of no finite score), and `(bins,)` int64 where `_counts` has each.

    A positive bin's lowest score has zeros for its low bits, a negative bin's has ones.
    """
    half = _N_BINS // 2
    order = torch.cat([torch.arange(_N_BINS - 1, half - 1, -1), torch.arange(half)])
    bits = torch.where(order < half, order << _LOW_BITS, ((order - _N_BINS + 1) << _LOW_BITS) - 1)  # as signed numbers
    return bits.int().view(torch.float32), order


def _last_best(values: Tensor) -> int:
    """The place of the largest value, the last of equal ones: that of the highest alpha."""
    return len(values) - 1 - int(values.flip(0).argmax())
