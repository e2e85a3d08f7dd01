"""The prior: what anyone at this point takes, which a short history adds little to.

Scores become `c s(u, v) + w . b`, with b the logs of an item's popularity at several places of histories, w weights,
and c how much the similarity counts for beside them. Weights and c follow from how many items are known of the user,
and from their vector: a cosine alone says as much of a user of one item as of anyone. All are written as coordinates
behind those of the vectors, so that a score is still a function of one vector a user and one an item.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.similarity import Similarity
from recall_lightning.models.user_tower import UserTower

LONGEST = 20  # items known; beyond, the weights are the same
SCALE = 0.1  # of items' coordinates, the users' being the inverse of it: an inner step that suits a vector suits both


class ItemsWithPrior(nn.Module):
    """An item tower whose vectors end with the item's popularity.

    How popular an item counts as that training doesn't know is learned, of the items that the tower takes for such.

    Args:
        tower: the item tower, already shaped.
        popularity: `(items + 1, windows)` float, the last row where a new item's starts.
        temperature: that scores are divided by: at first the prior counts as a mean of log shares does in a softmax.
    """

    popularity: Tensor

    def __init__(self, tower: ItemTower, popularity: Tensor, temperature: float) -> None:
        super().__init__()
        self.tower = tower
        self.scale = SCALE * temperature
        self.register_buffer("popularity", self.scale * popularity[:-1])
        self.new_popularity = nn.Parameter(popularity[-1].clone())  # unscaled, or a step of Adam would be worth tens

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *more: Any) -> None:
        table, new = f"{prefix}popularity", f"{prefix}new_popularity"
        if f"{prefix}new" in state:  # of older checkpoints, scaled
            state[new] = state.pop(f"{prefix}new") / self.scale
        elif new not in state and table in state:  # still older ones hold it as one more row
            state[table], state[new] = state[table][:-1], state[table][-1] / self.scale
        super()._load_from_state_dict(state, prefix, *more)

    @property
    def dim(self) -> int:
        """Width of the item vectors, the prior's coordinates with them."""
        assert self.tower.dim is not None
        return self.tower.dim + self.popularity.shape[1] + 1  # one where users have c

    def drop(self, rows: Tensor) -> Tensor:
        """As of `ItemTower`."""
        return self.tower.drop(rows)

    def forward(self, text_vectors: Tensor, rows: Tensor, words: Tensor | None = None) -> Tensor:
        """As of `ItemTower`: `(items, dim)`."""
        vectors = self.tower(text_vectors, rows, words)
        known = torch.where((rows >= 0)[:, None], self.popularity[rows.clamp(min=0)], self.scale * self.new_popularity)
        return _with_popularity(vectors, known)

    def of_texts(self, text_vectors: Tensor, words: Tensor | None = None) -> Tensor:
        """As of `ItemTower`."""
        vectors = self.tower.of_texts(text_vectors, words)
        return _with_popularity(vectors, (self.scale * self.new_popularity).expand(len(vectors), -1))


def _with_popularity(vectors: Tensor, popularity: Tensor) -> Tensor:
    """Vectors `(items, width)`, their popularity `(items, windows)`, and a zero where users have c."""
    return torch.cat([vectors, popularity.to(vectors.dtype), vectors.new_zeros(len(vectors), 1)], -1)


class UsersWithPrior(UserTower):
    """A user tower whose vectors end with the weights of the prior, and with c.

    Args:
        tower: the user tower, already shaped for item vectors without the prior's coordinates.
        dim: width of those.
        windows: coordinates of the prior.
    """

    def __init__(self, tower: UserTower, dim: int, windows: int) -> None:
        super().__init__()
        self.tower, self.dim = tower, dim
        # a table, written as a linear layer, since an inner loop can adapt those
        self.by_known = nn.Linear(LONGEST + 1, windows + 1, bias=False)
        self.by_vector = nn.Linear(dim, windows + 1)
        nn.init.constant_(self.by_known.weight, 1 / windows)
        nn.init.zeros_(self.by_known.weight[-1])  # c is 1
        nn.init.zeros_(self.by_vector.weight)
        nn.init.zeros_(self.by_vector.bias)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        users: Tensor = self.tower(vectors[..., : self.dim], present)
        known = F.one_hot(present.long().cumsum(1).clamp(max=LONGEST), LONGEST + 1).to(users.dtype)
        weights = self.by_known(known) + self.by_vector(users)
        return torch.cat([users, weights[..., :-1] / SCALE, weights[..., -1:].exp() / SCALE], -1)

    def weights(self, vectors: Tensor, present: Tensor) -> Tensor | None:
        """As of `UserTower`, of all but the prior's coordinates."""
        return self.tower.weights(vectors[..., : self.dim], present)


class PlusPrior(Similarity):
    """A similarity of all but the last coordinates, plus the product of those: `c s(u, v) + w . b`.

    Args:
        similarity: s.
        windows: coordinates of the prior, before that of c.
    """

    def __init__(self, similarity: Similarity, windows: int) -> None:
        super().__init__()
        self.similarity, self.windows = similarity, windows
        self.additive = similarity.additive

    def factors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        n = self.windows + 1
        left, right = self.similarity.factors(users[..., :-n], items[..., :-n])
        left = SCALE * users[..., -1:] * left
        return torch.cat([left, users[..., -n:-1]], -1), torch.cat([right, items[..., -n:-1]], -1)

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        n = self.windows + 1
        similar = SCALE * users[..., -1] * self.similarity.pairs(users[..., :-n], items[..., :-n])
        return similar + (users[..., -n:-1] * items[..., -n:-1]).sum(-1)

    def shares(self, users: Tensor, parts: Tensor, items: Tensor) -> Tensor:
        n = self.windows + 1
        of_similarity = self.similarity.shares(users[..., :-n], parts[..., :-n], items[..., :-n])
        return SCALE * users[..., -1:, None] * of_similarity


def similarity_alone(items: Tensor, windows: int) -> Tensor:
    """Item vectors as those of users for whom the prior counts nothing: w is 0, c is 1.

    Args:
        items: `(items, dim)` float, of `ItemsWithPrior`.
        windows: coordinates of the prior, before that of c.
    """
    users = items.clone()
    users[:, -windows - 1 : -1], users[:, -1] = 0, 1 / SCALE
    return users
