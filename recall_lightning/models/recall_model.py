"""RecallModel: the encoder and both towers as one network."""

import torch
from torch import Tensor, nn

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.item_cache import ItemCache
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.user_tower import UserTower


class RecallModel(nn.Module):
    """Item texts and histories to vectors whose similarity ranks items.

    Args:
        encoder: text to text vector.
        item_tower: text vector to item vector.
        user_tower: history of item vectors to user vector.
        n_items: items of the training catalogue.
        max_history: items of a history that the user tower sees.
    """

    def __init__(
        self, encoder: TextEncoder, item_tower: ItemTower, user_tower: UserTower, n_items: int, max_history: int
    ) -> None:
        super().__init__()
        item_tower.shape(encoder.dim, n_items)
        user_tower.shape(item_tower.dim or encoder.dim, max_history)
        self.encoder, self.item_tower, self.user_tower = encoder, item_tower, user_tower
        self.cache = ItemCache(n_items, encoder.dim)
        self.max_history = max_history

    @property
    def n_items(self) -> int:
        return len(self.cache.vectors)

    def catalogue_vectors(self) -> Tensor:
        """`(items, dim)` float32: the training catalogue's item vectors, of the cached text vectors."""
        rows = torch.arange(self.n_items, device=self.cache.vectors.device)
        vectors: Tensor = self.item_tower(self.cache.vectors, rows).float()
        return vectors

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

    def users_of_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """User vectors of histories' joined texts, for a tower that reads text.

        Args:
            ids: `(batch, tokens)` int64.
            mask: `(batch, tokens)` bool.

        Returns:
            `(batch, 1, dim)` float.
        """
        vectors = self.item_tower.projection(self.encoder(ids, mask))[:, None]
        users: Tensor = self.user_tower(vectors, mask[:, :1])
        return users
