"""RecallLoss: the negative log-likelihood of what users took, plus a regularizer.

Formulas, and what differs from the article they come from: docs/formulas.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.models.similarity import Cosine, Similarity
from recall_lightning.models.transitions import Bonus
from recall_lightning.recipe import Recipe
from recall_lightning.regularizers import Regularizer
from recall_lightning.softmax import softmax_loss, spread


class LossParts(NamedTuple):
    """A loss and what it is made of: `total = nll + penalty`, each a scalar tensor."""

    total: Tensor
    nll: Tensor
    penalty: Tensor


class RecallLoss(Recipe, nn.Module):
    """The softmax form: which of the candidates did the user take?

    `nll = mean_b -log softmax_c(s(u_b, v_c) / t - log q_c)[target_b]`, over the candidates that are not known to be
    other positives of the user. `q_c` is the chance that c is among the candidates at all (Yi et al., RecSys 2019);
    there is no `q` where the whole catalogue is.

    Args:
        similarity: s, of a user's and an item's vector.
        temperature: t.
        learn_temperature: whether t is trained (as its logarithm, so that it stays positive).
        regularizers: each adds its part to the penalty.
        label_smoothing: share of a target's label that is spread over the candidates that are not known to be other
            positives, from 0 up to, but below, 1 (Szegedy et al., CVPR 2016).

    Raises:
        ValueError: if the temperature is not above 0, or the smoothing out of its range.
    """

    def __init__(
        self,
        similarity: Similarity | None = None,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        regularizers: Sequence[Regularizer] = (),
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not temperature > 0 or not math.isfinite(temperature):
            raise ValueError(
                f"temperature is {temperature}, but similarities are divided by it: give a number above 0, such as 0.05"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}: give a share from 0 up to, but below, 1")
        self.label_smoothing = label_smoothing
        self.similarity = similarity if similarity is not None else Cosine()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)), requires_grad=learn_temperature)
        self.regularizers = nn.ModuleList(regularizers)

    @property
    def temperature(self) -> Tensor:
        """t, a scalar."""
        return self.log_temperature.exp()

    def forward(
        self,
        users: Tensor,
        items: Tensor,
        targets: Tensor,
        *,
        log_q: Tensor | None = None,
        known: Tensor | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> LossParts:
        """The loss of a batch.

        Args:
            users: `(batch, dim)` or `(batch, positions, dim)` float.
            items: `(candidates, dim)` float.
            targets: `(batch,)` or `(batch, positions)` int64 rows of `items`, -1 where there is none; or, with one more
                dimension, several targets of one vector, none of which is a negative of another.
            log_q: `(candidates,)` float, log of the chance that each is a candidate; None if all always are.
            known: `(batch, candidates)` bool, True where an item is known to be a positive of the user: never a
                negative, for any target but itself.
            parameters: named weights, for the regularizers that look at them.

        Returns:
            The loss and its parts; the mean is over the targets that are there, and 0 if there is none.
        """
        nll = self.nll(*with_positions(users, items, targets), log_q, known)
        penalty = self.penalty(items, parameters or {})
        return LossParts(nll + penalty, nll, penalty)

    def penalty(self, items: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """What the regularizers charge for, a scalar; arguments as of `forward`."""
        nothing = torch.zeros((), device=items.device)
        return sum((regularizer(items, parameters) for regularizer in self.regularizers), nothing)

    def factors(self, users: Tensor, items: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vectors whose inner product is `s(u, v) / t - shift`, so that no pass over the logits is spent on either.

        In float32 at least: bfloat16 would lose a softmax's small terms.

        Args:
            users: `(..., dim)` float.
            items: `(items, dim)` float.
            shift: `(items,)` float, such as log q.

        Returns:
            `(..., width)` and `(items, width)` float.
        """
        wide = torch.promote_types(torch.promote_types(users.dtype, items.dtype), torch.float32)
        with torch.autocast(users.device.type, enabled=False):
            left, right = self.similarity.factors(users.to(wide), items.to(wide))
            left = left / self.temperature.to(wide)
            if shift is not None:
                left = torch.cat([left, left.new_ones(*left.shape[:-1], 1)], -1)
                right = torch.cat([right, -shift.to(wide)[:, None]], -1)
            return left, right

    def logits(self, users: Tensor, items: Tensor, shift: Tensor | None = None, bonus: Bonus | None = None) -> Tensor:
        """`(..., items)` float: the product of `factors`, whose arguments these are, plus the bonus over t."""
        with torch.autocast(users.device.type, enabled=False):
            left, right = self.factors(users, items, shift)
            logits = left @ right.T
            if bonus is not None:
                every = torch.arange(bonus.n_positions, device=logits.device)
                logits = logits + bonus.of(every).view_as(logits) / self.temperature
            return logits

    def nll(
        self,
        users: Tensor,
        items: Tensor,
        targets: Tensor,
        log_q: Tensor | None = None,
        known: Tensor | None = None,
        *,
        bonus: Bonus | None = None,
        each: bool = False,
    ) -> Tensor:
        """The likelihood part.

        Args:
            users: `(batch, positions, dim)` float.
            items: as of `forward`.
            targets: `(batch, positions, relevant)` int64, -1 where there is none.
            log_q: as of `forward`.
            known: as of `forward`.
            bonus: what is added to the scores, of `(batch, positions)`; None for nothing.
            each: whether each user's own mean is wanted, which can be differentiated twice, as an inner loop needs; the
                mean over the targets of all can once.

        Returns:
            A scalar, or with `each` `(batch,)`; 0 without targets.
        """
        present, row = targets >= 0, _filled(targets)
        if not each:
            left, right = self.factors(users, items, log_q)
            if bonus is not None:
                bonus = replace(bonus, weights=bonus.weights / self.temperature)
            return softmax_loss(left, right, targets, known, bonus, self.label_smoothing) / present.sum().clamp(min=1)
        logits = self.logits(users, items, log_q, bonus)
        positive = logits.gather(-1, row)
        smoothed: Tensor | float = 0.0
        if self.label_smoothing:
            others = None if known is None else known[:, None].expand_as(logits)
            smoothed = self.label_smoothing * (positive - (logits * spread(logits, row, others)).sum(-1, keepdim=True))
        if targets.shape[-1] == 1:
            if known is not None:
                # the target itself is known too: its own logit is put back
                logits = logits.masked_fill(known[:, None], float("-inf")).scatter_(-1, row, positive)
            total = logits.logsumexp(-1, keepdim=True)
        else:
            own = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, row, True)
            own = own if known is None else own | known[:, None]
            rest = logits.masked_fill(own, torch.finfo(logits.dtype).min / 4)  # not -inf, lest nobody is left
            total = torch.logaddexp(rest.logsumexp(-1, keepdim=True), positive)
        # no boolean indexing: its result's size would have to be waited for on a GPU
        losses = torch.where(present, total - positive + smoothed, 0.0)
        return losses.sum((1, 2)) / present.sum((1, 2)).clamp(min=1)


class BinaryRecallLoss(RecallLoss):
    """The threshold form: is this item one that the user takes, yes or no?

    `p = sigmoid((s - alpha) / t)` and binary cross-entropy over every pair of a position and a candidate, where alpha,
    the article's threshold, is learned: `s >= alpha` means `p >= 1/2`. Positives are the position's target; negatives
    are the candidates not known to be positives of the user. At the optimum the mean of p is the share of positives.

    Args:
        similarity: s.
        temperature: t.
        learn_temperature: whether t is trained.
        regularizers: each adds its part to the penalty.
        alpha: where the threshold starts.
        positive_weight: weight of a positive against a negative; None balances the two sides.
    """

    def __init__(
        self,
        similarity: Similarity | None = None,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        regularizers: Sequence[Regularizer] = (),
        alpha: float = 0.5,
        positive_weight: float | None = 1.0,
    ) -> None:
        super().__init__(similarity, temperature, learn_temperature, regularizers)
        if positive_weight is not None and not positive_weight > 0:
            raise ValueError(f"positive_weight is {positive_weight}: give a number above 0, or null to balance")
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.positive_weight = positive_weight

    def nll(
        self,
        users: Tensor,
        items: Tensor,
        targets: Tensor,
        log_q: Tensor | None = None,
        known: Tensor | None = None,
        *,
        bonus: Bonus | None = None,
        each: bool = False,
    ) -> Tensor:
        logits = self.logits(users, items, (self.alpha / self.temperature).expand(len(items)), bonus)
        present, row = targets >= 0, _filled(targets)
        positive = F.softplus(-logits.gather(-1, row))
        negative = F.softplus(logits)
        # a candidate stands for 1 / q of the catalogue's items: the popular ones are drawn too often
        share = logits.new_ones(len(items)) if log_q is None else (-log_q).exp()
        weights = share.expand_as(negative).scatter(-1, row, 0.0)
        if known is not None:
            weights = weights.masked_fill(known[:, None], 0.0)
        weights = weights * present.any(-1, keepdim=True)
        over = (1, 2) if each else (0, 1, 2)
        n_positive, n_negative = present.sum(over), weights.sum(over)
        total_positive, total_negative = (positive * present).sum(over), (negative * weights).sum(over)
        if self.positive_weight is None:
            return total_positive / n_positive.clamp(min=1) + total_negative / n_negative.clamp(min=1)
        weight = self.positive_weight
        return (weight * total_positive + total_negative) / (weight * n_positive + n_negative).clamp(min=1e-12)


def with_positions(users: Tensor, items: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Users `(batch, positions, dim)`, items, targets `(batch, positions, relevant)`, from any form of `forward`."""
    if users.dim() == 2:
        users, targets = users[:, None], targets[:, None]
    return users, items, targets if targets.dim() == 3 else targets[..., None]


def _filled(targets: Tensor) -> Tensor:
    """Targets `(..., relevant)` with -1 replaced by another target of their row, or by 0 where there is none."""
    return torch.where(targets >= 0, targets, targets.amax(-1, keepdim=True)).clamp(min=0)
