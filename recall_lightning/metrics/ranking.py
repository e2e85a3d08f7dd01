"""How good the first k places of a ranking are.

Everything here is computed from `target_ranks`: the 0-based places of a user's relevant items, `-1` pads. Binary gains;
formulas as in Järvelin and Kekäläinen (TOIS 2002) for nDCG and Voorhees (TREC-8, 1999) for the reciprocal rank.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from recall_lightning.metrics.ranks import target_ranks


def recall_at_k(ranks: Tensor, k: int) -> Tensor:
    """Tell which share of a user's relevant items the list holds: `hits in the top k / relevant items`.

    Args:
        ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        k: length of the list.

    Returns:
        `(users,)` float in [0, 1]; NaN for a user with nothing relevant.
    """
    return _of_judged(_hits(ranks, k).sum(-1) / _n_relevant(ranks), ranks)


def precision_at_k(ranks: Tensor, k: int) -> Tensor:
    """Tell which share of the list is relevant: `hits in the top k / k`, also where fewer than k candidates are left.

    Args:
        ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        k: length of the list.

    Returns:
        `(users,)` float in [0, 1]; NaN for a user with nothing relevant.
    """
    return _of_judged(_hits(ranks, k).sum(-1) / k, ranks)


def ndcg_at_k(ranks: Tensor, k: int) -> Tensor:
    """Weigh hits by place: `sum over hits of 1 / log2(rank + 2)`, divided by that sum for the best possible list.

    Args:
        ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        k: length of the list; the best possible one starts with `min(k, relevant)` hits.

    Returns:
        `(users,)` float in [0, 1]; NaN for a user with nothing relevant.
    """
    gains = torch.where(_hits(ranks, k), 1 / torch.log2(ranks + 2), 0).sum(-1)
    places = torch.arange(min(k, ranks.shape[1]), device=ranks.device)
    ideal = torch.where(places < _n_relevant(ranks)[:, None], 1 / torch.log2(places + 2), 0).sum(-1)
    return _of_judged(gains / ideal, ranks)


def mrr_at_k(ranks: Tensor, k: int) -> Tensor:
    """Tell how soon the first hit comes: `1 / (its rank + 1)`, and 0 without a hit in the top k.

    Args:
        ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        k: length of the list.

    Returns:
        `(users,)` float in [0, 1]; NaN for a user with nothing relevant.
    """
    return _of_judged(torch.where(_hits(ranks, k), 1 / (ranks + 1), 0).amax(-1), ranks)


def hit_rate_at_k(ranks: Tensor, k: int) -> Tensor:
    """Tell whether the list holds anything relevant: 1 or 0. With one relevant item a user it equals the recall.

    Args:
        ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        k: length of the list.

    Returns:
        `(users,)` float, 0 or 1; NaN for a user with nothing relevant.
    """
    return _of_judged(_hits(ranks, k).any(-1), ranks)


MEASURES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "recall": recall_at_k,
    "precision": precision_at_k,
    "ndcg": ndcg_at_k,
    "mrr": mrr_at_k,
    "hit_rate": hit_rate_at_k,
}

_UNIT = 2**32  # sums are kept in integer units of 1 / _UNIT


class _MeanOverUsers(Metric):
    """Base of the metrics: means of measures at ks over the users with anything relevant.

    Sums are integers, so no order of batches and no split over processes changes a bit of the result, and every device
    can hold them (MPS has no float64). A value is rounded to 2**-32; 2**31 users fit.

    Attributes:
        n_users: int64, users that the means are over.
        n_skipped: int64, users left out, since nothing was relevant to them.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    n_users: Tensor
    n_skipped: Tensor

    def __init__(self, measures: Sequence[str], ks: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for k in ks:
            if k < 1:
                raise ValueError(f"k is {k}, but a list holds at least one item: give k of 1 or more, such as 10")
        self._columns = {f"{measure}@{k}": (measure, k) for k in ks for measure in measures}
        # named by what it holds: a MetricCollection lets metrics whose states look alike after a batch share one
        self._totals = "total " + " ".join(self._columns)
        self.add_state(self._totals, torch.zeros(len(self._columns), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("n_users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("n_skipped", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count a batch of users by their scores.

        Args:
            scores: `(users, items)` float, -inf where an item is no candidate.
            targets: `(users, relevant)` int64 columns of `scores`, `-1` pads, or `(users,)`.

        Raises:
            ValueError: if a score is NaN, or the numbers of users differ.
        """
        self._add(target_ranks(scores, targets))

    def update_ranks(self, ranks: Tensor) -> None:
        """Count a batch of users whose ranks are known: one ranking then serves many metrics.

        Args:
            ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        """
        self._computed = None  # what torchmetrics does around `update`
        self._update_count += 1
        self._add(ranks)

    def _add(self, ranks: Tensor) -> None:
        judged = _n_relevant(ranks) > 0  # (users,)
        values = torch.stack([MEASURES[measure](ranks, k) for measure, k in self._columns.values()], -1)
        units = (torch.where(judged[:, None], values, 0) * _UNIT).round().long()  # (users, columns)
        setattr(self, self._totals, getattr(self, self._totals) + units.sum(0))
        self.n_users = self.n_users + judged.sum()
        self.n_skipped = self.n_skipped + (~judged).sum()

    def _means(self) -> Tensor:
        """`(columns,)` float."""
        totals: Tensor = getattr(self, self._totals)
        return totals / _UNIT / self.n_users.clamp(min=1)


class _AtK(_MeanOverUsers):
    """Base of the metrics with a single value."""

    measure: ClassVar[str]

    def __init__(self, k: int, **kwargs: Any) -> None:
        super().__init__([self.measure], [k], **kwargs)
        self.k = k

    def compute(self) -> Tensor:
        """Scalar float: the mean over users; 0 if there were none, as from torchmetrics' own retrieval metrics."""
        return self._means()[0]


class RecallAtK(_AtK):
    """Mean over users of `recall_at_k`.

    Unlike torchmetrics 1.9's `RetrievalRecall` it counts relevant items with scores of 0 and below, ranks ties against
    the model, and leaves out users with nothing relevant (counted in `n_skipped`).

    Args:
        k: length of the list, 1 or more.
        kwargs: torchmetrics' own, such as `dist_sync_on_step`.

    Raises:
        ValueError: if k is below 1.
    """

    measure = "recall"


class PrecisionAtK(_AtK):
    """Mean over users of `precision_at_k`; arguments and errors as of `RecallAtK`."""

    measure = "precision"


class NDCGAtK(_AtK):
    """Mean over users of `ndcg_at_k`; arguments and errors as of `RecallAtK`."""

    measure = "ndcg"


class MRRAtK(_AtK):
    """Mean over users of `mrr_at_k`; arguments and errors as of `RecallAtK`."""

    measure = "mrr"


class HitRateAtK(_AtK):
    """Mean over users of `hit_rate_at_k`; arguments and errors as of `RecallAtK`."""

    measure = "hit_rate"


class RankingMetrics(_MeanOverUsers):
    """All five measures at all ks, from one ranking of each user's catalogue.

    Args:
        ks: lengths of the list, each 1 or more.
        kwargs: torchmetrics' own, such as `dist_sync_on_step`.

    Raises:
        ValueError: if there is no k, or one is below 1.
    """

    def __init__(self, ks: Sequence[int], **kwargs: Any) -> None:
        if not ks:
            raise ValueError("ks is empty: give at least one length of the list, such as [10]")
        super().__init__(list(MEASURES), ks, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name, `{"recall@10": ..., "precision@10": ..., ...}`; 0 if there were no users."""
        return dict(zip(self._columns, self._means().unbind(), strict=True))


def _hits(ranks: Tensor, k: int) -> Tensor:
    return (ranks >= 0) & (ranks < k)  # (users, relevant)


def _n_relevant(ranks: Tensor) -> Tensor:
    return (ranks >= 0).sum(-1)  # (users,)


def _of_judged(values: Tensor, ranks: Tensor) -> Tensor:
    """`(users,)` values, NaN where nothing is relevant: a mean that forgets to leave those users out shows it."""
    return torch.where(_n_relevant(ranks) > 0, values, torch.nan)
