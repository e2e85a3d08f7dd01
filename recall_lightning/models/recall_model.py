"""RecallModel: the encoder and both towers as one network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.item_cache import ItemCache
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.packed import Lower
from recall_lightning.models.prior import ItemsWithPrior, UsersWithPrior, similarity_alone
from recall_lightning.models.transitions import Bonus, Neighbours, Transitions
from recall_lightning.models.user_tower import UserTower
from recall_lightning.models.words import Spelling, Words


class RecallModel(nn.Module):
    """Item texts and histories to vectors whose similarity ranks items.

    An item without a single training interaction is a new one, be it in the training's catalogue or not: it stands on
    its text alone.

    Args:
        encoder: text to text vector.
        item_tower: text vector to item vector.
        user_tower: history of item vectors to user vector.
        counts: `(items,)` int64 training interactions of each item of the training catalogue.
        max_history: items of a history that the user tower sees.
        popularity: `(items + 1, windows)` float of `popularity_by_place`, for a model with a prior; None without one.
        temperature: see `ItemsWithPrior` and `Transitions`.
        transitions: `after` and `share` of `successors`, for a model with transitions; None without.
        neighbours: the same of `neighbours`.
        new_boost: what is added to the logits of new items where items are ranked.
        spelling: of the training catalogue's texts, for an item tower with words.
    """

    rows: Tensor

    def __init__(
        self,
        encoder: TextEncoder,
        item_tower: ItemTower,
        user_tower: UserTower,
        counts: Tensor,
        max_history: int,
        popularity: Tensor | None = None,
        temperature: float = 1.0,
        transitions: tuple[Tensor, Tensor] | None = None,
        neighbours: tuple[Tensor, Tensor] | None = None,
        new_boost: float = 0.0,
        spelling: Spelling | None = None,
    ) -> None:
        super().__init__()
        n_items = len(counts)
        self.register_buffer("rows", torch.where(counts > 0, torch.arange(n_items), -1), persistent=False)
        item_tower.shape(encoder.dim, n_items)
        dim = item_tower.dim or encoder.dim
        user_tower.shape(dim, max_history)
        self.words: Words | None = None
        if item_tower.words is not None:
            assert spelling is not None
            self.words = Words(spelling, counts, item_tower.words, encoder.model.config.vocab_size, dim)
        self.encoder = encoder
        self.item_tower: ItemTower | ItemsWithPrior = item_tower
        self.user_tower = user_tower
        self.n_prior = 0  # the last coordinates of all vectors
        if popularity is not None:
            self.n_prior = popularity.shape[1] + 1
            self.item_tower = ItemsWithPrior(item_tower, popularity, temperature)
            self.user_tower = UsersWithPrior(user_tower, dim, popularity.shape[1])
        self.transitions = None if transitions is None else Transitions(*transitions, counts, dim, temperature)
        self.neighbours = None if neighbours is None else Neighbours(*neighbours, counts, dim, temperature)
        self.new_boost = new_boost * temperature  # added to scores
        self.cache = ItemCache(n_items, encoder.dim)
        self.lower: Lower | None = None  # of the catalogue's texts, while it trains
        self.max_history = max_history

    @property
    def dim(self) -> int:
        """Width of item and user vectors."""
        return self.item_tower.dim or self.encoder.dim

    @property
    def n_items(self) -> int:
        return len(self.cache.vectors)

    def catalogue_vectors(self) -> Tensor:
        """`(items, dim)` float32: the training catalogue's item vectors, of the cached text vectors."""
        words = None if self.words is None else self.words()
        vectors: Tensor = self.item_tower(self.cache.vectors, self.rows, words).float()
        return vectors

    def known_rows(self, rows: Tensor) -> Tensor:
        """Rows of the training's items `(n,)`, with -1 for new ones; -1 stays."""
        return torch.where(rows >= 0, self.rows[rows.clamp(min=0)], -1)

    def without_prior(self, items: Tensor) -> Tensor:
        """`(items, width)` float: item vectors `(items, dim)` without what tells how popular they are."""
        return items[:, : items.shape[1] - self.n_prior]

    def as_users(self, items: Tensor) -> Tensor:
        """`(items, dim)` float: vectors of users who look for what is like an item each, popular or not."""
        return similarity_alone(items, self.n_prior - 1) if self.n_prior else items

    def users(self, items: Tensor, history: Tensor) -> Tensor:
        """User vectors after each position of histories.

        Args:
            items: `(items, dim)` float.
            history: `(batch, history)` int64 rows of `items`, newest in the last column, -1 at the left.

        Returns:
            `(batch, history, dim)` float.
        """
        present = history >= 0
        vectors = items[history.clamp(min=0)] * present[..., None]
        users: Tensor = self.user_tower(vectors, present)
        return users

    @property
    def counted(self) -> dict[str, Transitions]:
        """The parts of the score that were counted, by name: transitions, neighbours, both or none."""
        parts = {"transitions": self.transitions, "neighbours": self.neighbours}
        return {name: part for name, part in parts.items() if part is not None}

    def bonus(self, users: Tensor, history: Tensor, rows: Tensor | None = None) -> Callable[[slice], Tensor] | None:
        """What is added to the scores of users, some of whom at a time: what was counted, and the boost of new items.

        Args:
            users: `(users, dim)` float.
            history: `(users, history)` int64 rows of the training's items, newest in the last column, -1 for none.
            rows: `(scored,)` int64 rows of the training's items that are scored, -1 for others; None for all.

        Returns:
            From a slice of the users what is added, `(some users, scored)` float; None for a model without either.
        """
        if not self.counted and self.new_boost == 0:
            return None
        columns = self.rows if rows is None else self.known_rows(rows)
        known = self.known_rows(history)
        parts = [part(users[:, None], known, None, columns) for part in self.counted.values()]
        made = Bonus.joined(parts) if parts else None
        boost = self.new_boost * (columns < 0)

        def added(chunk: slice) -> Tensor:
            some = torch.arange(len(users), device=users.device)[chunk]
            return boost.expand(len(some), -1) if made is None else made.of(some).add_(boost)

        return added

    def users_of_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """User vectors of histories' joined texts, for a tower that reads text.

        Args:
            ids: `(batch, tokens)` int64.
            mask: `(batch, tokens)` bool.

        Returns:
            `(batch, 1, dim)` float.
        """
        assert isinstance(self.item_tower, ItemTower), "a prior counts items, which a text doesn't tell"
        vectors = self.item_tower.projection(self.encoder(ids, mask))[:, None]
        users: Tensor = self.user_tower(vectors, mask[:, :1])
        return users
