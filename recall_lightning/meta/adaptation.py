"""Adaptation: from a tower's answer to a support, to the vectors of users who were adapted to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recall_lightning.losses import RecallLoss
from recall_lightning.meta import inner_loop, learn2learn
from recall_lightning.meta.fast_weights import FastWeights, Support
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.models.scoring import members
from recall_lightning.models.user_tower import UserTower

ENGINES = {"batched": inner_loop.adapt, "learn2learn": learn2learn.adapt}


@dataclass(frozen=True)
class Adaptation:
    """How users are adapted to: parts of a model, whose own weights are never changed here.

    Attributes:
        tower: from a history of item vectors to the user's.
        loss: what a step lessens, on the support.
        fast_weights: what is each user's own.
        rates: step sizes.
        steps: of the inner loop.
        engine: a key of `ENGINES`; all give the same.
    """

    tower: UserTower
    loss: RecallLoss
    fast_weights: FastWeights
    rates: StepSizes
    steps: int
    engine: str = "batched"

    def run(
        self,
        items: Tensor,
        history: Tensor,
        *,
        log_q: Tensor | None = None,
        known: Tensor | None = None,
        steps: int | None = None,
        second_order: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Adapt users to their supports, among candidates.

        Args:
            items: `(candidates, dim)` float.
            history: `(users, support)` int64 rows of `items`, newest in the last column, -1 at the left.
            log_q: `(candidates,)` float, as of `RecallLoss`.
            known: `(users, candidates)` bool, as of `RecallLoss`; by default each user's support.
            steps: if not `self.steps`.
            second_order: whether gradients of the result go through those of the steps.

        Returns:
            User vectors `(users, dim)` and support losses `(users,)`, after 0, 1, ... `steps` steps each.
        """
        support = self._support(items, history)
        # of the user's positives those alone that a new user brings: a query's items are negatives here, as they will
        # be when a user is served
        positives = members(history, len(items)) if known is None else known

        def support_loss(vectors: Tensor, targets: Tensor, which: slice) -> Tensor:
            return self.loss.nll(vectors, items, targets, log_q, positives[which], each=True)

        return ENGINES[self.engine](
            self.fast_weights.adapted, support, support_loss, self.rates,
            steps=self.steps if steps is None else steps, second_order=second_order,
        )  # fmt: skip

    def serve(
        self,
        items: Tensor,
        history: Tensor,
        *,
        log_q: Tensor | None = None,
        known: Tensor | None = None,
        steps: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Adapt users to recommend to them.

        Args:
            items: as of `run`.
            history: as of `run`; a user without any is left as they are.
            log_q: as of `run`.
            known: as of `run`.
            steps: as of `run`.

        Returns:
            `(steps + 1, users, dim)` float32 user vectors after each step, and `(users,)` bool: for whose support
            the inner loop diverged; their vectors are then all the unadapted one.
        """
        with torch.inference_mode(False):  # whose tensors no gradient can go through
            items, history = items.detach().clone(), history.clone()
            log_q, known = (None if part is None else part.clone() for part in (log_q, known))
            users, _ = self.run(items, history, log_q=log_q, known=known, steps=steps)
        vectors = torch.stack([user.detach().float() for user in users])
        # squared, as similarities do it: a length that overflows scores all items alike
        diverged = ~vectors.square().sum(-1).isfinite().all(0)
        return torch.where(diverged[:, None], vectors[0], vectors), diverged & (history >= 0).any(1)

    @torch.no_grad()
    def start(self, items: Tensor, history: Tensor) -> Tensor:
        """`(users, dim)` float32: what users are before they are adapted to; arguments as of `run`."""
        users: Tensor = self.fast_weights.adapted(*self._support(items, history).inputs)[:, -1]
        return users.float()

    def _support(self, items: Tensor, history: Tensor) -> Support:
        present = history >= 0
        return self.fast_weights.support(self.tower, items[history.clamp(min=0)] * present[..., None], present, history)
