"""The same inner loop by learn2learn: a clone a user, one after the other."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from recall_lightning.errors import InputError
from recall_lightning.meta.fast_weights import Support
from recall_lightning.meta.inner_loop import SupportLoss
from recall_lightning.meta.step_sizes import StepSizes

INSTALL = 'pip install "learn2learn==0.2.0" --config-settings="--build-option=build_ext"'


def adapt(
    adapted: nn.Module, support: Support, loss: SupportLoss, rates: StepSizes, *, steps: int, second_order: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Adapt users one by one; arguments and result as of `inner_loop.adapt`, to which this is the reference.

    Raises:
        InputError: if learn2learn isn't installed.
    """
    template = _wrapped(adapted, rates, first_order=not second_order)
    users: list[list[Tensor]] = [[] for _ in range(steps + 1)]
    losses: list[list[Tensor]] = [[] for _ in range(steps + 1)]
    n_users, asked = support.targets.shape[:2]
    with torch.enable_grad():
        for user in range(n_users):
            one, learner = support.one(user), template.clone()
            for step in range(steps + 1):
                vectors = learner(*one.inputs)
                users[step].append(vectors[:, -1])
                if step < steps and not second_order:
                    vectors = learner(*one.inputs)  # a pass of its own: a first-order step frees what it went through
                with torch.set_grad_enabled(step < steps):
                    losses[step].append(loss(vectors[:, :asked], one.targets, slice(user, user + 1)))
                if step < steps:
                    if hasattr(learner, "lrs"):
                        learner.lrs = list(rates.at(step).values())
                    learner.adapt(losses[step][-1].sum())
    return [torch.cat(part) for part in users], [torch.cat(part) for part in losses]


def _wrapped(adapted: nn.Module, rates: StepSizes, *, first_order: bool) -> Any:
    """`MAML` where one fixed step size serves all weights, else `MetaSGD`, whose step sizes are set at each step."""
    try:
        algorithms = importlib.import_module("learn2learn.algorithms")
    except ImportError as error:
        raise InputError(f"engine learn2learn: it can't be imported ({error}). Install it: {INSTALL}") from error
    if rates.fixed is not None:
        return algorithms.MAML(adapted, lr=rates.fixed, first_order=first_order)
    return algorithms.MetaSGD(adapted, lrs=list(rates.at(0).values()), first_order=first_order)
