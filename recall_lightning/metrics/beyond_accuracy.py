"""What recommendations are like beside being right: how much of the catalogue they show, how popular, new and alike.

Everything here is computed from recommendation lists, `(users, k)` int64 rows of the catalogue, best first, `-1` pads
at the right, and from how often each item was trained on. Nothing looks at what is relevant, so a list can do well here
and be useless: read these beside the recall.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

_UNIT = 2**32  # sums are kept in integer units of 1 / _UNIT


def exposure(lists: Tensor, n_items: int) -> Tensor:
    """Count how often each item is shown.

    Args:
        lists: `(users, k)` int64 catalogue rows, `-1` pads.
        n_items: size of the catalogue.

    Returns:
        `(items,)` int64.

    Raises:
        ValueError: if a list names a row that the catalogue doesn't have.
    """
    shown = lists[lists >= 0].bincount(minlength=n_items)
    if len(shown) > n_items:
        raise ValueError(
            f"lists name row {len(shown) - 1}, but there are {n_items} items: give the lists' own catalogue"
        )
    return shown


def coverage(exposure: Tensor) -> Tensor:
    """Tell which share of the catalogue is shown to anyone: `#{i: x_i > 0} / items` (Ge et al., RecSys 2010).

    Args:
        exposure: `(items,)` int64, x: how often each item is shown.

    Returns:
        Scalar float in [0, 1].
    """
    return (exposure > 0).sum() / max(1, len(exposure))


def gini(exposure: Tensor) -> Tensor:
    """Tell how unequally the items are shown: 0 if all are shown alike, 1 if a single one is.

    `G = sum_j (2j - n - 1) x_(j) / ((n - 1) sum_j x_j)`, x_(j) the j-th smallest of n exposures, j from 1 (Shani and
    Gunawardana, Recommender Systems Handbook, 2011; first asked of recommenders by Fleder and Hosanagar, Management
    Science 2009). It is over the whole catalogue: items that are never shown are part of the inequality.

    Args:
        exposure: `(items,)` int64, x: how often each item is shown.

    Returns:
        Scalar float in [0, 1]; 0 where nothing is shown, and for a catalogue of one item.
    """
    n = len(exposure)
    weights = torch.arange(1 - n, n, 2, device=exposure.device)  # 2j - n - 1
    return (weights * exposure.sort().values).sum() / ((n - 1) * exposure.sum()).clamp(min=1)


def popularity_lift(lists: Tensor, history: Tensor, counts: Tensor) -> Tensor:
    """Tell how much more popular a user's list is than what they took themselves.

    `mean over the list of log(1 + c_i) - mean over the history of log(1 + c_i)`, c_i: training interactions of item i.
    The popularity lift of Abdollahpouri et al. (RecSys 2020), with logarithms in place of counts, so that a single
    blockbuster doesn't outweigh the rest. 0 is calibrated in the sense of Steck (RecSys 2018): as popular as the user's
    own taste; above 0 the model pushes what is popular.

    Args:
        lists: `(users, k)` int64 catalogue rows, `-1` pads.
        history: `(users, history)` int64 catalogue rows, `-1` pads.
        counts: `(items,)` int64 training interactions.

    Returns:
        `(users,)` float; NaN where list or history is empty.
    """
    popularity = counts.log1p()
    return _means(popularity, lists) - _means(popularity, history)


def novelty(lists: Tensor, counts: Tensor, n_users: int) -> Tensor:
    """Tell how unlikely it is that a user has met the list's items already, in bits.

    `mean over the list of -log2((c_i + 1) / (n_users + 1))`, c_i: training interactions of item i, so the fraction is
    the chance that a user took it (Vargas and Castells, RecSys 2011; self-information as in Zhou et al., PNAS 2010).
    The + 1 is as if one more user had taken everything: an item never trained on, such as a new one, would else be
    infinitely novel. Where users take an item more than once, it can have more interactions than there are users, and
    is then below 0.

    Args:
        lists: `(users, k)` int64 catalogue rows, `-1` pads.
        counts: `(items,)` int64 training interactions.
        n_users: users trained on.

    Returns:
        `(users,)` float, 0 if everyone took all of the list, at most log2(n_users + 1); NaN where the list is empty.
    """
    return _means(-torch.log2((counts + 1) / (n_users + 1)), lists)


def intra_list_diversity(lists: Tensor, vectors: Tensor) -> Tensor:
    """Tell how unlike one another the items of a list are: the mean of `1 - cos(v_i, v_j)` over its pairs.

    The intra-list similarity of Ziegler et al. (WWW 2005), as a distance. Linear in k: with u_i the vectors at length
    1, `sum over i != j of u_i.u_j = |sum_i u_i|^2 - sum_i |u_i|^2`.

    Args:
        lists: `(users, k)` int64 catalogue rows, `-1` pads.
        vectors: `(items, dim)` float; one of zeros is at a cosine of 0 to every other.

    Returns:
        `(users,)` float in [0, 2]; NaN where the list has fewer than two items.
    """
    shown = lists >= 0
    n = shown.sum(-1)
    listed = vectors[lists.clamp(min=0)] * shown[..., None]  # (users, k, dim)
    # float32 at least: in bfloat16's 8 significant bits the difference of the two sums is noise
    units = F.normalize(listed.to(torch.promote_types(listed.dtype, torch.float32)), dim=-1)
    cosines = units.sum(1).square().sum(-1) - units.square().sum((1, 2))  # (users,), each pair twice
    # rounding can lift the cosine of equal vectors above 1
    return torch.where(n > 1, (1 - cosines / (n * (n - 1))).clamp(min=0), torch.nan)


class BeyondAccuracy(Metric):
    """Coverage and Gini index of all the lists together, and means over users of the other measures.

    A user for whom a measure has no value (an empty list or history, fewer than two items) is left out of its mean.
    Memory is that of the catalogue, not of the users. Sums are integers, as in `RankingMetrics`, so no order of
    batches, no padding and no split over processes changes the result; only a user's own diversity is a sum of floats,
    whose last bits a GPU may round by the shape of its batch. A value is rounded to 2**-32; 2**26 users fit.

    Args:
        k: length of the list, 1 or more; longer lists are cut.
        counts: `(items,)` int64 training interactions.
        n_users: users trained on.
        vectors: `(items, dim)` float, what the diversity is measured on; None leaves it out.
        kwargs: torchmetrics' own, such as `dist_sync_on_step`.

    Raises:
        ValueError: if k is below 1, or the vectors are not one a count, or not finite.
    """

    is_differentiable = False
    full_state_update = False

    counts: Tensor
    vectors: Tensor | None

    def __init__(self, k: int, counts: Tensor, n_users: int, vectors: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"k is {k}, but a list holds at least one item: give k of 1 or more, such as 10")
        if vectors is not None and len(vectors) != len(counts):
            raise ValueError(f"there are {len(vectors)} vectors and {len(counts)} counts: give one of each an item")
        if vectors is not None and not vectors.isfinite().all():
            raise ValueError("vectors are not finite: the weights have diverged. Train with a lower learning rate")
        self.k = k
        self.n_users = n_users
        self.register_buffer("counts", counts, persistent=False)  # moves with the device, but is no checkpoint's matter
        self.register_buffer("vectors", vectors, persistent=False)
        measures = ["popularity_lift", "novelty"] + ["diversity"] * (vectors is not None)
        self._columns = [f"{measure}@{k}" for measure in measures]
        # named by k: a MetricCollection lets metrics whose states look alike after a batch share one
        self._states = tuple(f"{state}@{k}" for state in ("exposure", "totals", "n_valued"))
        for state, size in zip(self._states, (len(counts), len(measures), len(measures)), strict=True):
            self.add_state(state, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, lists: Tensor, history: Tensor) -> None:
        """Count a batch of users.

        Args:
            lists: `(users, k)` int64 catalogue rows, best first, `-1` pads.
            history: `(users, history)` int64 catalogue rows of what they took before, `-1` pads.

        Raises:
            ValueError: if the numbers of users differ, or a list names a row that the catalogue doesn't have.
        """
        if len(lists) != len(history):
            raise ValueError(
                f"lists are of {len(lists)} users, history of {len(history)}: give both for the same users"
            )
        lists = lists[:, : self.k]
        values = [popularity_lift(lists, history, self.counts), novelty(lists, self.counts, self.n_users)]
        if self.vectors is not None:
            values.append(intra_list_diversity(lists, self.vectors))
        by_measure = torch.stack(values)  # (measures, users)
        units = (by_measure.nan_to_num(0) * _UNIT).round().long().sum(-1)
        added = (exposure(lists, len(self.counts)), units, (~by_measure.isnan()).sum(-1))
        for state, more in zip(self._states, added, strict=True):
            setattr(self, state, getattr(self, state) + more)

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name, `{"coverage@10": ..., "gini@10": ..., "popularity_lift@10": ..., ...}`; 0 of no users."""
        shown, totals, n_valued = (getattr(self, state) for state in self._states)
        means = totals / _UNIT / n_valued.clamp(min=1)
        overall = {f"coverage@{self.k}": coverage(shown), f"gini@{self.k}": gini(shown)}
        return overall | dict(zip(self._columns, means.unbind(), strict=True))


def _means(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of a row's items, `(users, n)` rows of `(items,)` values; NaN for a row without any.

    Summed in integers: a row's mean then doesn't depend on how far its batch was padded.
    """
    present = rows >= 0
    units = (values * _UNIT).round().long()[rows.clamp(min=0)] * present  # (users, n)
    n = present.sum(-1)
    return torch.where(n > 0, units.sum(-1) / n / _UNIT, torch.nan)
