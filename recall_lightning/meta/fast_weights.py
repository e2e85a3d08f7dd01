"""Fast weights: what of a model is each user's own."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recall_lightning.errors import InputError
from recall_lightning.models.shift import Shift
from recall_lightning.models.user_tower import UserTower
from recall_lightning.recipe import Recipe


class Support(NamedTuple):
    """What adaptation is given of some users.

    Attributes:
        inputs: of the adapted module, each `(users, ...)`. Its output is `(users, positions, dim)`: the last position
            is the user's vector.
        targets: `(users, asked, relevant)` int64 rows of the candidates, -1 pads: what each of the first positions must
            score high. Nothing is asked of the others.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def one(self, user: int) -> "Support":
        """A single user's."""
        return Support(tuple(part[user : user + 1] for part in self.inputs), self.targets[user : user + 1])


class FastWeights(Recipe, nn.Module):
    """Base of the choices: a module whose weights are adapted, and what its support looks like.

    Attributes:
        adapted: the module; before adaptation it must leave the tower's answer as it is.
    """

    adapted: nn.Module

    @abstractmethod
    def shape(self, dim: int, tower: UserTower) -> None:
        """Make the weights, once the tower and its vectors' width are known.

        Raises:
            InputError: if the tower can't be adapted so.
        """

    @abstractmethod
    def support(self, tower: UserTower, vectors: Tensor, present: Tensor, history: Tensor) -> Support:
        """Lay out users' supports.

        Args:
            tower: the user tower.
            vectors: `(users, history, dim)` float of the support's items, oldest first, newest in the last column.
            present: `(users, history)` bool.
            history: `(users, history)` int64 rows of the candidates, -1 where there is none.
        """


class UserVector(FastWeights):
    """The user's own vector.

    It starts as the tower's answer to the support, and must score each item of the support high: folding in, as matrix
    factorisation does, from a learned start.
    """

    def shape(self, dim: int, tower: UserTower) -> None:
        self.adapted = Shift(dim)

    def support(self, tower: UserTower, vectors: Tensor, present: Tensor, history: Tensor) -> Support:
        return Support((tower(vectors, present)[:, -1:],), history[:, None])


class LinearHead(FastWeights):
    """A linear layer on top of the tower, which is then left alone (ANIL, Raghu et al., ICLR 2020).

    It starts as the identity. Each position of the support must score the next item high, and a learned vector for
    "nothing is known yet" the first one. Only the steps look at that vector, so with `inner_loop.first_order`, whose
    gradient doesn't look at steps, nothing trains it.
    """

    def shape(self, dim: int, tower: UserTower) -> None:
        head = nn.Linear(dim, dim)
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
        self.adapted, self.nobody = head, nn.Parameter(torch.zeros(dim))

    def support(self, tower: UserTower, vectors: Tensor, present: Tensor, history: Tensor) -> Support:
        known = torch.where(present[..., None], tower(vectors, present), self.nobody)
        return Support((torch.cat([self.nobody.expand(len(known), 1, -1), known], 1),), history[..., None])


class WholeTower(FastWeights):
    """All weights of the user tower.

    Each position of the support must score the next item high. A tower says nothing before the first item, so users of
    one item are left as they are.
    """

    def shape(self, dim: int, tower: UserTower) -> None:
        if not list(tower.parameters()):
            raise InputError(
                f"model.fast_weights: {type(tower).__name__} has no weights to adapt: choose UserVector or LinearHead"
            )
        self._tower = (tower,)  # in a tuple, so that its weights are the model's alone

    @property
    def adapted(self) -> nn.Module:  # type: ignore[override]  # what the others make, this one is given
        return self._tower[0]

    def support(self, tower: UserTower, vectors: Tensor, present: Tensor, history: Tensor) -> Support:
        # not even of the first item, though padding stands before it
        return Support((vectors, present), history[:, 1:, None].masked_fill(~present[:, :-1, None], -1))
