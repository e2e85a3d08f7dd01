"""Adapting: users get vectors of their own before items are ranked for them."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recall_lightning.errors import InputError
from recall_lightning.models.scoring import members
from recall_lightning.modules.maml import MAMLRecallModule

_SEED = 0
_SCORES_AT_ONCE = 2**20  # each step keeps several such matrices: some 100 MiB in all


class Adapting:
    """Adapts users to the newest items of their histories; the model itself is left as it is.

    The inner loop tells these items apart from the items of the training, all or a sample. Items that training never
    saw are positives of those who bring them, and nobody's negatives: what a user gets doesn't depend on who else asks.

    Args:
        module: meta-trained. It must not be used by another thread meanwhile.
        vectors: `(pool, dim)` float, of all items that a history may hold.
        trained: `(trained,)` int64 rows of the pool: the items of the training.
        candidates: most of the latter that a step looks at. Of more, so many are drawn uniformly, always the same, and
            each stands for as many (log-q correction); the support's own items are always there, standing for
            themselves.

    Attributes:
        diverged: users so far whose inner loop diverged: they got the unadapted vector.

    Raises:
        InputError: if candidates is below 1.
    """

    def __init__(self, module: MAMLRecallModule, vectors: Tensor, trained: Tensor, *, candidates: int) -> None:
        if candidates < 1:
            raise InputError(f"adapt_candidates is {candidates}: give 1 or more, such as 20000")
        # the engines agree, and this one adapts all users at once
        self._adaptation = replace(module.adaptation, engine="batched")
        self._vectors, self._negatives, self._share = vectors, trained, 1.0
        if len(trained) > candidates:
            drawn = np.random.default_rng(_SEED).choice(len(trained), candidates, replace=False)
            self._negatives = trained[torch.from_numpy(np.sort(drawn)).to(trained.device)]
            self._share = candidates / len(trained)
        self.diverged = 0

    def __call__(self, history: Tensor) -> Tensor:
        """Adapt users.

        Args:
            history: `(users, history)` int64 rows of the pool, newest in the last column, -1 at the left. A user
                without any stays unadapted.

        Returns:
            `(users, dim)` float32.
        """
        at_once = max(1, _SCORES_AT_ONCE // len(self._negatives))
        return torch.cat([self._adapted(part) for part in torch.split(history, at_once)])

    def _adapted(self, history: Tensor) -> Tensor:
        negatives, present = self._negatives, history >= 0
        place = history.new_full((len(self._vectors) + 1,), -1)  # one more, so that -1 stays -1
        place[negatives] = torch.arange(len(negatives), device=place.device)
        known = members(place[history], len(negatives))
        # a drawn negative stands for many items, and so can't be a positive: those have rows of their own
        own = history[present & (place[history] < 0)] if self._share == 1 else history[present]
        own = torch.unique(own)
        place[own] = len(negatives) + torch.arange(len(own), device=place.device)
        candidates = torch.cat([negatives, own])
        known = torch.cat([known, known.new_ones(len(known), len(own))], 1)
        log_q = torch.zeros(len(candidates), device=place.device)
        log_q[: len(negatives)] = math.log(self._share)
        vectors, diverged = self._adaptation.serve(
            self._vectors[candidates], place[history], log_q=log_q if self._share < 1 else None, known=known
        )  # fmt: skip
        self.diverged += int(diverged.sum())
        return vectors[-1]
