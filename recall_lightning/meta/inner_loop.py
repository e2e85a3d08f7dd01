"""The inner loop: a few gradient steps on each user's support, for all users at once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recall_lightning.meta.fast_weights import Support
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.meta.updates import Updates

SupportLoss = Callable[[Tensor, Tensor, slice], Tensor]
"""From vectors `(users, asked, dim)`, targets `(users, asked, relevant)` and which users of the batch these are,
to each user's loss `(users,)`."""


def adapt(
    adapted: nn.Module, support: Support, loss: SupportLoss, rates: StepSizes, *, steps: int, second_order: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Adapt all users of a batch together.

    Args:
        adapted: the module whose weights are each user's own; its weights here are the common start, and stay so.
        support: of the users.
        loss: what a step lessens.
        rates: step sizes.
        steps: how many.
        second_order: whether gradients of the result go through those of the steps (MAML), or not (first-order MAML).

    Returns:
        User vectors, `(users, dim)`, and support losses, `(users,)`, after 0, 1, ... `steps` steps each. The last loss,
        which no step follows, has no gradient.
    """
    users, losses = [], []
    n_users, asked = support.targets.shape[:2]
    with torch.enable_grad(), Updates(adapted, n_users) as updates:
        for step in range(steps + 1):
            vectors = adapted(*support.inputs)
            users.append(vectors[:, -1])
            with torch.set_grad_enabled(step < steps):
                losses.append(loss(vectors[:, :asked], support.targets, slice(0, n_users)))
            if step < steps:
                updates.step(losses[-1], rates.at(step), second_order=second_order)
    return users, losses
