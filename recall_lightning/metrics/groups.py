"""Metrics by group: of users with short and long histories, of items seldom and often taken."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

POPULARITY_GROUPS = ("head", "middle", "tail")


def history_groups(lengths: Tensor, edges: Sequence[int] = (1, 5, 10, 20, 50)) -> tuple[Tensor, list[str]]:
    """Group users by how many interactions are known of them.

    Call it once for all users that are compared: a group that none of them is in gets no name, so labels of two calls
    need not mean the same.

    Args:
        lengths: `(users,)` int64 numbers of interactions.
        edges: the least length of each group, ascending; the last group has no upper end.

    Returns:
        `(users,)` int64 places in the names, `-1` for a user below the first edge; and the names of the groups that
        hold anyone, such as `["1-4", "20-49", "50+"]`, shortest histories first.

    Raises:
        ValueError: if there are no edges, or they don't ascend.
    """
    if not edges or any(low >= high for low, high in pairwise(edges)):
        raise ValueError(f"edges are {list(edges)}, but each group begins above the last: give them ascending")
    names = [_span(low, high) for low, high in zip(edges, [*edges[1:], None], strict=True)]
    groups = torch.bucketize(lengths, torch.tensor(edges, device=lengths.device), right=True) - 1
    held = groups[groups >= 0].bincount(minlength=len(edges)) > 0
    places = held.cumsum(0) - 1  # (edges,): among the names
    labels = torch.where(groups >= 0, places[groups.clamp(min=0)], -1)
    return labels, [name for name, any_user in zip(names, held.tolist(), strict=True) if any_user]


def item_popularity_groups(counts: Tensor) -> tuple[Tensor, list[str]]:
    """Group the catalogue by popularity, so that head and middle each draw about a third of what is taken.

    The head is the fewest most-taken items that hold a third of the training interactions, the middle the fewest next
    ones that fill it up to two thirds, the tail all others, also what was never taken. Of equally popular items the
    lower row comes first. An item that alone holds two thirds leaves the middle empty.

    Args:
        counts: `(items,)` int64 training interactions.

    Returns:
        `(items,)` int64, 0 head, 1 middle, 2 tail; and these names.
    """
    order = counts.argsort(descending=True, stable=True)
    above = counts[order].cumsum(0) - counts[order]  # (items,): interactions with what is more popular
    thirds = (3 * above >= counts.sum()).long() + (3 * above >= 2 * counts.sum())
    return torch.empty_like(thirds).scatter(0, order, thirds), list(POPULARITY_GROUPS)


def target_group_recall(ranks: Tensor, targets: Tensor, labels: Tensor, k: int, n_groups: int) -> Tensor:
    """Tell which share of a user's relevant items of each group the list holds.

    `recall[u, g] = hits of group g in the top k / relevant items of group g`.

    Args:
        ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
        targets: `(users, relevant)` int64 catalogue rows that were ranked, `-1` pads; `(users,)` is one a user.
        labels: `(items,)` int64 group of each item, such as from `item_popularity_groups`; `-1` belongs to none.
        k: length of the list.
        n_groups: number of groups.

    Returns:
        `(users, groups)` float in [0, 1]; NaN where nothing of the group is relevant to the user.
    """
    targets = targets[:, None] if targets.ndim == 1 else targets
    groups = labels[targets.clamp(min=0)]  # (users, relevant)
    relevant = (ranks >= 0) & (groups >= 0)
    tallies = torch.zeros(2, len(ranks), n_groups, dtype=torch.int64, device=ranks.device)
    n_hits, n_relevant = (
        tally.scatter_add(1, groups.clamp(min=0), counted.long())
        for tally, counted in zip(tallies, (relevant & (ranks < k), relevant), strict=True)
    )
    return n_hits / torch.where(n_relevant > 0, n_relevant, torch.nan)


class ByGroup(WrapperMetric):
    """A metric for each group of users, and how many users each group has.

    Args:
        metric_factory: gives a new metric a group, such as `lambda: RankingMetrics([10])`.
        names: of the groups, such as from `history_groups`.
        kwargs: torchmetrics' own.

    Raises:
        ValueError: if two names are equal.
    """

    is_differentiable = False

    def __init__(self, metric_factory: Callable[[], Metric], names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(set(names)) < len(names):
            raise ValueError(f"names are {list(names)}, but a value is told apart by its group's: give each once")
        self.names = list(names)
        self.sizes = _GroupSizes(len(names))
        self.metrics = nn.ModuleList(metric_factory() for _ in names)

    def update(self, *of_users: Tensor, groups: Tensor) -> None:
        """Count a batch of users, each in their group.

        Args:
            of_users: what the metric's own `update` takes, each with one row a user.
            groups: `(users,)` int64 places in the names; `-1` belongs to none.

        Raises:
            ValueError: if the numbers of users differ, or a group has no name.
        """
        routes = self._routes(of_users, groups)
        self.sizes.update(groups)
        for metric, rows in routes:
            metric.update(*rows)

    def update_ranks(self, ranks: Tensor, groups: Tensor) -> None:
        """Count a batch of users whose ranks are known, for metrics that have an `update_ranks`.

        Args:
            ranks: `(users, relevant)` int64 from `target_ranks`, `-1` pads.
            groups: as for `update`, with the same errors.
        """
        routes = self._routes((ranks,), groups)
        self.sizes.update(groups)
        for metric, (rows,) in routes:
            metric.update_ranks(rows)

    def forward(self, *of_users: Tensor, groups: Tensor) -> dict[str, Tensor]:
        """Count a batch as `update` does, and give the values of the batch alone."""
        routes = self._routes(of_users, groups)
        return self._named(self.sizes(groups), [metric(*rows) for metric, rows in routes])

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name and group, `{"n_users/1-4": ..., "recall@10/1-4": ..., "n_users/5-9": ..., ...}`.

        A metric that gives a single value goes by the name of its class, as in a `MetricCollection`.
        """
        return self._named(self.sizes.compute(), [metric.compute() for metric in self._metrics()])

    def reset(self) -> None:
        """Forget all users."""
        super().reset()
        self.sizes.reset()
        for metric in self._metrics():
            metric.reset()

    def _metrics(self) -> list[Any]:  # of any class: `update_ranks` is not every metric's
        return list(self.metrics)

    def _routes(self, of_users: Sequence[Tensor], groups: Tensor) -> Iterator[tuple[Any, list[Tensor]]]:
        """Each group's metric and the rows of its users.

        A group without any gets empty rows: torchmetrics warns of a metric that is computed before any update. One
        group is copied at a time, for a batch's scores can be most of the memory.
        """
        for values in of_users:
            if len(values) != len(groups):
                raise ValueError(f"values are of {len(values)} users, groups of {len(groups)}: give both for the same")
        return (
            (metric, [values[groups == group] for values in of_users]) for group, metric in enumerate(self._metrics())
        )

    def _named(self, sizes: Tensor, values: Sequence[Tensor | dict[str, Tensor]]) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        # reshaped: torchmetrics makes a scalar of the sizes of a single group
        for name, size, metric, value in zip(self.names, sizes.reshape(-1), self._metrics(), values, strict=True):
            several = value if isinstance(value, dict) else {type(metric).__name__: value}
            named |= {f"{key}/{name}": one for key, one in {"n_users": size, **several}.items()}
        return named


class _GroupSizes(Metric):
    """Counts the users of each group."""

    full_state_update = False

    n_users: Tensor

    def __init__(self, n_groups: int) -> None:
        super().__init__()
        self.add_state("n_users", torch.zeros(n_groups, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, groups: Tensor) -> None:
        n_users = groups[groups >= 0].bincount(minlength=len(self.n_users))
        if len(n_users) > len(self.n_users):
            raise ValueError(f"a user is of group {len(n_users) - 1}, but {len(self.n_users)} are named: name them all")
        self.n_users = self.n_users + n_users

    def compute(self) -> Tensor:
        return self.n_users


def _span(low: int, high: int | None) -> str:
    """`1-4`, `5` if the next group begins at 6, `50+` if there is none."""
    if high is None:
        return f"{low}+"
    return f"{low}-{high - 1}" if high - 1 > low else f"{low}"
