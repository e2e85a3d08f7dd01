"""How alike a user's and an item's vectors are: the score that ranks the catalogue."""

import torch
from torch import Tensor, nn

from recall_lightning.recipe import Recipe


class Similarity(Recipe, nn.Module):
    """Base of the similarities: higher is more alike. A new one defines `factors` and `pairs`, which must agree.

    Attributes:
        additive: whether the score of a sum of vectors can be shared out among them, by `shares`.
    """

    additive: bool = False

    def factors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors whose inner product is the similarity, so that scoring many items is one matrix product.

        Args:
            users: `(..., dim)` float.
            items: `(items, dim)` float.

        Returns:
            `(..., width)` and `(items, width)` float.
        """
        raise NotImplementedError

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Score every user against every item; arguments as of `factors`.

        Returns:
            `(..., items)` float.
        """
        return self.product(*self.factors(users, items))

    def product(self, left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of what `factors` gave.

        Args:
            left: `(..., width)` float.
            right: `(items, width)` float.
            out: `(..., items)` float to write into, without gradient; None for new memory.

        Returns:
            `(..., items)` float.
        """
        return torch.matmul(left, right.T, out=out)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user against the one item beside them.

        Args:
            users: `(..., dim)` float.
            items: `(..., dim)` float, of a shape that broadcasts with that of `users`.

        Returns:
            `(...)` float.
        """
        raise NotImplementedError

    def shares(self, users: Tensor, parts: Tensor, items: Tensor) -> Tensor:
        """Share out scores of users whose vector is a sum among its parts.

        Args:
            users: `(users, dim)` float.
            parts: `(users, parts, dim)` float, whose sum is `users`.
            items: `(users, items, dim)` float, the items that each is scored against.

        Returns:
            `(users, items, parts)` float, whose sum over the parts is what the similarity makes of the pairs.
        """
        raise NotImplementedError


class Cosine(Similarity):
    """Score by the angle alone: `s = u.v / (|u| |v|)`, in [-1, 1]; 0 where a vector is all zeros."""

    additive = True

    def factors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return _unit(users), _unit(items)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return (_unit(users) * _unit(items)).sum(-1)

    def shares(self, users: Tensor, parts: Tensor, items: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(users, dim=-1)[:, None, None]
        return _unit(items) @ parts.mT / torch.where(lengths > 0, lengths, 1)


class Dot(Similarity):
    """Score by angle and lengths: `s = u.v`, unbounded; a long item vector is good for everyone."""

    additive = True

    def factors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return users, items

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return (users * items).sum(-1)

    def shares(self, users: Tensor, parts: Tensor, items: Tensor) -> Tensor:
        return items @ parts.mT


class Euclidean(Similarity):
    """Score by nearness: `s = -|u - v|^2`, at most 0.

    `forward` computes `2 u.v - |u|^2 - |v|^2`, one matrix product instead of a `(..., items, dim)` difference. Its
    error grows with the vectors' squared length, not with their distance.
    """

    def factors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        of_users, of_items = users.square().sum(-1, keepdim=True), items.square().sum(-1, keepdim=True)
        left = torch.cat([2 * users, -of_users, -torch.ones_like(of_users)], -1)
        return left, torch.cat([items, torch.ones_like(of_items), of_items], -1)

    def product(self, left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
        # rounding can lift a vector's score with itself above 0
        return torch.clamp(super().product(left, right, out), max=0, out=out)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return -(users - items).square().sum(-1)


def _unit(vectors: Tensor) -> Tensor:
    """Scale `(..., dim)` vectors to length 1; zeros stay zeros.

    The mask goes in before the root: at a length of 0 its second derivative, which second-order MAML needs, is NaN.
    Dividing by an epsilon, as `functional.normalize` does, would multiply a zero vector's gradient by 1e12.
    """
    zero = torch.linalg.vector_norm(vectors.detach(), dim=-1, keepdim=True) == 0
    lengths: Tensor = torch.linalg.vector_norm(vectors.masked_fill(zero, 1), dim=-1, keepdim=True)
    return vectors / lengths
