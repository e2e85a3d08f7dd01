"""User towers: a history of item vectors to the user's vector, after every position at once."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.errors import InputError
from recall_lightning.recipe import Recipe


class UserTower(Recipe, nn.Module):
    """Base of user towers.

    A tower is causal: the vector after a position depends on the items up to it alone. So one pass trains every
    position of a history, and the last column is the user's vector now.
    """

    reads_text = False

    def shape(self, dim: int, max_history: int) -> None:
        """Make the weights, once the item vectors' width and the longest history are known."""

    @abstractmethod
    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """User vectors after each position.

        Args:
            vectors: `(batch, history, dim)` float, oldest first, newest in the last column.
            present: `(batch, history)` bool, False where there is no item.

        Returns:
            `(batch, history, dim)` float; of no meaning where nothing is present yet.
        """

    def weights(self, vectors: Tensor, present: Tensor) -> Tensor | None:
        """How much each item counts for, of a tower whose answer is a weighted sum of item vectors.

        Args:
            vectors: as of `forward`.
            present: as of `forward`.

        Returns:
            `(batch, history, history)` float, whose product with `vectors` is what `forward` gives; None for a tower
            that gives anything else.
        """
        return None


class MeanTower(UserTower):
    """The mean of the newest items.

    Args:
        last: how many of them; None for all of the history.
    """

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        if last is not None and last < 1:
            raise ValueError(f"last is {last}, but a mean needs an item: give 1 or more, or null for all")
        self.last = last

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        visible = causal(present, self.last).to(vectors.dtype)
        return visible @ vectors / visible.sum(-1, keepdim=True).clamp(min=1)

    def weights(self, vectors: Tensor, present: Tensor) -> Tensor:
        visible = causal(present, self.last).to(vectors.dtype)
        return visible / visible.sum(-1, keepdim=True).clamp(min=1)


class AttentionTower(UserTower):
    """A weighted mean: each item's weight follows from its vector and from how long ago it was.

    `u_t = sum_j softmax_j(a(v_j) + b[t - j]) v_j` over j <= t, with `a` linear and `b` learned for each lag: the
    additive attention of NRMS (Wu et al., EMNLP 2019) with recency. It starts as the plain mean.
    """

    def shape(self, dim: int, max_history: int) -> None:
        self.score = nn.Linear(dim, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)
        self.lag = LagBias(1, max_history)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        return self.weights(vectors, present) @ vectors

    def weights(self, vectors: Tensor, present: Tensor) -> Tensor:
        scores = self.score(vectors).transpose(1, 2) + self.lag(vectors.shape[1])[..., 0, :, :]
        return scores.masked_fill(~seen(present), float("-inf")).softmax(-1)


class TransformerTower(UserTower):
    """A causal transformer over the history (SASRec, Kang and McAuley, ICDM 2018), pre-norm.

    Positions are a learned bias for each head and lag: the first items of a long history are seen as a short history
    is, which is what a cold user brings.

    Args:
        layers: blocks.
        heads: attention heads.
        dropout: in attention, feed-forward and the input.
    """

    def __init__(self, layers: int = 2, heads: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        for name, value in [("layers", layers), ("heads", heads)]:
            if value < 1:
                raise ValueError(f"{name} is {value}: give 1 or more")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: give a share from 0 up to, but below, 1")
        self.layers, self.heads, self.dropout = layers, heads, dropout

    def shape(self, dim: int, max_history: int) -> None:
        if dim % self.heads:
            raise InputError(
                f"model.user_tower.init_args.heads is {self.heads}, but heads share the item vectors' width of {dim} "
                "evenly: give a divisor of it"
            )
        self.scale = dim**0.5
        self.enter = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(self.dropout))
        self.blocks = nn.ModuleList(_Block(dim, self.heads, max_history, self.dropout) for _ in range(self.layers))
        self.leave = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        visible = seen(present)
        hidden = self.enter(vectors)
        for block in self.blocks:
            hidden = block(hidden, visible)
        out: Tensor = self.leave(hidden)
        return out


class LagBias(nn.Module):
    """What an attention adds to its scores for how long ago an item was.

    Args:
        heads: of the attention.
        longest: lags that have a value of their own; a longer one has the last's.
    """

    def __init__(self, heads: int, longest: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(heads, longest))

    def forward(self, length: int) -> Tensor:
        """`(heads, length, length)` float: row t, column j for lag `t - j`."""
        return self.values[:, lags(length, self.values.shape[1], self.values.device)]


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, max_history: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.lag = LagBias(heads, max_history)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim), nn.Dropout(dropout)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        batch, length, dim = hidden.shape
        projected = self.query_key_value(self.norm_attention(hidden)).view(batch, length, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        bias = self.lag(length).to(query.dtype).masked_fill(~visible[:, None], float("-inf"))
        rate = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=rate)
        hidden = hidden + self.drop(self.output(mixed.transpose(1, 2).reshape(batch, length, dim)))
        out: Tensor = hidden + self.feed_forward(self.norm_forward(hidden))
        return out


class TextTower(UserTower):
    """The history's texts, joined and read by the encoder itself.

    Needs `data.history_tokens`, which makes the batch carry the joined text. What it is given is the vector of that
    text, `(batch, 1, dim)`, already projected as an item's is.
    """

    reads_text = True

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        return vectors


def causal(present: Tensor, last: int | None = None) -> Tensor:
    """Which positions each position sees.

    Args:
        present: `(batch, history)` bool.
        last: how many of the newest; None for all.

    Returns:
        `(batch, history, history)` bool: row t is true at the present positions up to t.
    """
    length = present.shape[1]
    window = torch.ones(length, length, dtype=torch.bool, device=present.device).tril()
    if last is not None:
        window = window.triu(1 - last)
    return window & present[:, None, :]


def seen(present: Tensor) -> Tensor:
    """`causal`, but an absent position sees itself, too: no row of a softmax is then empty."""
    return causal(present) | torch.eye(present.shape[1], dtype=torch.bool, device=present.device)


def lags(length: int, longest: int, device: torch.device) -> Tensor:
    """`(length, length)` int64: how many positions ago j was at t, from 0; cut to what has a learned value."""
    position = torch.arange(length, device=device)
    return (position[:, None] - position[None, :]).clamp(min=0, max=longest - 1)
