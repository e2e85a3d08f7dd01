"""Transitions and neighbours: what was taken after, and beside, the items that a user took, as parts of the score.

A transformer over few histories learns which items are alike, and hardly which one follows which: a Markov chain knows
that by heart. Here the scores become `s + t w(u) log(1 + m_j / q_j)`, with `m_j` what the chain says of item j, `q_j`
its share of all interactions (with one more for each item), t the temperature and w a weight that follows from how many
items are known of the user and from their vector. At w = 1 and s = t log q, a softmax over them is the mixture of both,
`q_j + m_j`. The rest of the model is trained beside it, and so learns what the chain doesn't know. Neighbours are the
same of what was met in one history in whichever order, by all items of a user alike: item kNN, which is hard to beat
where histories are short and their order says little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BESIDE = 100  # steps between two items of a history that count as neighbours
LAST_BESIDE = 50  # newest items of a history whose neighbours count
MOST_BESIDE = 64  # neighbours an item
WINDOW = 10  # steps after an item that count as following it
LAST = 10  # newest items of a history that count
MOST = 256  # successors an item
LONGEST = 20  # items known; beyond, the weight is the same
_START = 0.3  # of the weights


@dataclass(frozen=True)
class Bonus:
    """What is added to scores `(batch, positions, candidates)`: sums of `weights * lifts`, made for some positions.

    Attributes:
        weights: `(batch, positions, parts)` float.
        lifts: gives, for each part, `(n, candidates)` float of `(n,)` int64 positions, counted through the batch.
    """

    weights: Tensor
    lifts: Sequence[Callable[[Tensor], Tensor]]

    @classmethod
    def joined(cls, parts: Sequence["Bonus"]) -> "Bonus":
        """The sum of bonuses of equal positions, at least one."""
        return cls(torch.cat([part.weights for part in parts], -1), [lift for part in parts for lift in part.lifts])

    @property
    def n_positions(self) -> int:
        """Of the whole batch."""
        return self.weights.shape[:-1].numel()

    def of(self, positions: Tensor) -> Tensor:
        """`(n, candidates)` float: what is added at some positions, `(n,)` int64 as of `lifts`."""
        weights = self.weights.flatten(0, 1)[positions]  # (n, parts)
        added = weights[:, :1] * self.lifts[0](positions)
        for part, lift in enumerate(self.lifts[1:], 1):
            added = torch.addcmul(added, weights[:, part, None], lift(positions))
        return added


class Transitions(nn.Module):
    """Scores items by what followed the newest items of histories in training.

    `m_j = sum_a a^-1 c_(i_a)j / n_(i_a) / sum_a a^-1` over the last items i_a, the newest at a = 1, with c of
    `data.successors` and n the training interactions of an item.

    Args:
        after: `(items, width)` int64 of `successors`.
        share: `(items, width)` float of `successors`.
        counts: `(items,)` int64 training interactions of each item.
        dim: width of users' vectors, without a prior's coordinates.
        temperature: t.
    """

    last = LAST
    after: Tensor
    share: Tensor
    rarity: Tensor
    once: Tensor

    def __init__(self, after: Tensor, share: Tensor, counts: Tensor, dim: int, temperature: float) -> None:
        super().__init__()
        n_items = len(counts)
        self.dim, self.temperature = dim, temperature
        # one more row and column for what isn't there; no part of the weights, since a checkpoint has them already
        rows = F.pad(torch.where(after >= 0, after, n_items), (0, 0, 0, 1), value=n_items)
        self.register_buffer("after", rows, persistent=False)
        self.register_buffer("share", F.pad(share.float(), (0, 0, 0, 1)), persistent=False)
        self.register_buffer("rarity", (counts.sum() + n_items) / (counts + 1).float(), persistent=False)  # 1 / q
        self.register_buffer("once", F.pad(1 / counts.clamp(min=1).float(), (0, 1)), persistent=False)
        self.by_known = nn.Linear(LONGEST + 1, 1, bias=False)
        self.by_vector = nn.Linear(dim, 1)
        nn.init.constant_(self.by_known.weight, _START)
        nn.init.zeros_(self.by_vector.weight)
        nn.init.zeros_(self.by_vector.bias)

    def forward(
        self, users: Tensor, history: Tensor, targets: Tensor | None = None, columns: Tensor | None = None
    ) -> Bonus:
        """What is added to the scores of users.

        Args:
            users: `(batch, positions, dim)` float vectors after each position, or `(batch, 1, dim)` after the last.
            history: `(batch, history)` int64 rows of the training's items, newest in the last column, -1 for none, or
                for what training doesn't know.
            targets: `(batch, positions)` int64 rows of what is to be foretold, of histories that were counted: what
                such a target itself brought to the counts is taken off again. -1 for none. Or, with one more dimension,
                several targets of one position, as they followed one another.
            columns: `(candidates,)` int64 rows, each once, the only ones that are scored, -1 for what training doesn't
                know; None for all.
        """
        n_positions = users.shape[1]
        present = history >= 0
        known = F.one_hot(present.cumsum(1).clamp(max=LONGEST), LONGEST + 1).to(users.dtype)[:, -n_positions:]
        weights = (self.by_known(known) + self.by_vector(users[..., : self.dim]))[..., 0]
        last = min(self.last, history.shape[1])
        recent = F.pad(history, (last - 1, 0), value=-1).unfold(1, last, 1)[:, -n_positions:].reshape(-1, last)
        asked = None if targets is None else targets.reshape(len(recent), -1)
        places, rarity = self._places(columns)

        def lifts(positions: Tensor) -> Tensor:
            own = None if asked is None else asked[positions]
            return self._lifts(recent[positions], own, places, rarity)

        return Bonus(self.temperature * weights.float()[..., None], [lifts])

    def told(self, lags: Tensor) -> Tensor:
        """How much an item counts for that was taken so many steps ago, from 1 for the newest."""
        return 1 / lags

    def counted(self, steps: Tensor) -> Tensor:
        """What a pair of items so many steps apart, at least 1, brought to the counts."""
        return (steps <= WINDOW) / steps

    def _places(self, columns: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Where each item stands among the columns, `(items + 1,)` int64, past them for none, and their 1 / q."""
        if columns is None:
            return None, self.rarity
        known = columns >= 0
        places = columns.new_full((len(self.rarity) + 1,), len(columns))
        numbers = torch.arange(len(columns), device=columns.device)
        places.scatter_(0, torch.where(known, columns, len(self.rarity)), numbers)
        places[-1] = len(columns)
        return places, torch.where(known, self.rarity[columns.clamp(min=0)], 0)

    @torch.no_grad()
    def _lifts(self, recent: Tensor, targets: Tensor | None, places: Tensor | None, rarity: Tensor) -> Tensor:
        """`(n, candidates)` float `log(1 + m_j / q_j)`.

        Args:
            recent: `(n, last)` int64 rows, newest in the last column, -1 for none.
            targets: `(n, relevant)` int64 rows of what followed, nearest first; -1 for none. As of `forward`.
            places, rarity: as of `_places`.
        """
        n_items = len(self.rarity)
        lags = torch.arange(recent.shape[1], 0, -1, device=recent.device)
        weights = (recent >= 0) * self.told(lags)
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        rows = torch.where(recent >= 0, recent, n_items)
        found = weights.new_zeros(len(recent), len(rarity) + 1)
        after = self.after[rows].flatten(1)
        shares = (weights[..., None] * self.share[rows]).flatten(1)
        found.scatter_add_(1, after if places is None else places[after], shares)
        if targets is not None:
            column = torch.where(targets >= 0, targets, n_items)  # (n, relevant)
            steps = lags[:, None] + torch.arange(column.shape[1], device=column.device)  # from each item to each target
            # of others the counts were cut, and the target's part with them
            kept = (self.after[rows][:, :, None] == column[:, None, :, None]).any(-1)
            brought = (weights[..., None] * self.counted(steps) * self.once[rows][..., None] * kept).sum(1)
            column = column if places is None else places[column]
            found.scatter_add_(1, column, -brought)
            found.scatter_(1, column, found.gather(1, column).clamp_(min=0))
        return (found[:, :-1] * rarity).add_(1).log_()  # log1p takes ten times as long on a CPU

    @torch.no_grad()
    def by_item(self, users: Tensor, history: Tensor, items: Tensor) -> Tensor:
        """What is added to some scores, shared out among a history's items as they share in `m_j`.

        `m_j` is a sum over the history's items; its logarithm isn't, and is shared out in the same proportions.

        Args:
            users: `(n, dim)` float.
            history: `(n, history)` int64 as of `forward`.
            items: `(n, asked)` int64 rows of the training's items that are scored, -1 for what training doesn't know.

        Returns:
            `(n, asked, history)` float, whose sum over the history is what `forward` adds.
        """
        recent = history[:, -self.last :]
        told = (recent >= 0) * self.told(torch.arange(recent.shape[1], 0, -1, device=recent.device))
        told = told / told.sum(-1, keepdim=True).clamp(min=torch.finfo(told.dtype).tiny)
        brought = told.new_zeros(*items.shape, recent.shape[1])
        for place, row in enumerate(torch.where(recent >= 0, recent, len(self.rarity)).unbind(1)):
            found = self.after[row][:, None] == items[..., None]  # (n, asked, width)
            brought[..., place] = (found * self.share[row][:, None]).sum(-1) * told[:, place, None]
        brought *= (items >= 0)[..., None]
        sums = brought.sum(-1)
        lifts = (sums * self.rarity[items.clamp(min=0)]).add(1).log()
        added = self(users[:, None], history).weights[..., 0] * lifts
        shared = brought * (added / torch.where(sums > 0, sums, 1))[..., None]
        return F.pad(shared, (history.shape[1] - recent.shape[1], 0))


class Neighbours(Transitions):
    """Scores items by what the users who took a history's items took besides, before or after.

    As `Transitions`, of `data.neighbours`: all items of a history count alike, and so do all pairs.
    """

    last = LAST_BESIDE

    def told(self, lags: Tensor) -> Tensor:
        return torch.ones_like(lags, dtype=torch.float32)

    def counted(self, steps: Tensor) -> Tensor:
        return (steps <= BESIDE).float()
