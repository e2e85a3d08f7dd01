"""Fusing: another channel's scores beside the model's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recall_lightning.fusion import WAYS


@dataclass(frozen=True)
class Fusing:
    """Makes one ranking of the model's scores and another channel's, over all that a user may be offered.

    Attributes:
        score: the channel: of `(users,)` ids and `(users, history)` int64 rows of the catalogue, whole histories, the
            newest in the last column, -1 at the left, the `(users, items)` float scores of the whole catalogue.
        way: a name of `fusion.WAYS`.
        weight: of the channel, the model's being 1.
        users_at_once: most users to score at a time.
    """

    score: Callable[[Sequence[str], Tensor], Tensor]
    way: str
    weight: float
    users_at_once: int

    def of(self, user_ids: Sequence[str], history: Tensor) -> Callable[[slice, Tensor], Tensor]:
        """What `top_k` is to rank these users' items by.

        Args:
            user_ids: `(users,)`.
            history: `(users, history)` int64, as of `score`.
        """

        def rescored(users: slice, scores: Tensor) -> Tensor:
            other = self.score(user_ids[users], history[users]).to(scores.device)
            other = other.masked_fill(scores == -torch.inf, -torch.inf)
            return WAYS[self.way]([scores, other], [1.0, self.weight])

        return rescored
