"""Batches: index tensors, and each distinct item's tokens once."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints, pad, spans
from recall_lightning.data.sampler import counted
from recall_lightning.data.sequences import cut_in_two
from recall_lightning.data.splits import Cases
from recall_lightning.data.tokens import TokenBatch, Tokens


@dataclass
class Batch:
    """Base of the batches: moves with all that it holds."""

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """Lightning moves a batch by this."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), (Tensor, TokenBatch))
        }
        return replace(self, **moved)

    def pin_memory(self) -> Self:
        pinned = {
            f.name: value.pin_memory()
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), (Tensor, TokenBatch))
        }
        return replace(self, **pinned)


@dataclass
class TrainBatch(Batch):
    """Users' histories to train on, every position at once.

    Histories stand at the right: the last column is the newest item, and -1 fills up the left.

    Attributes:
        items: `(distinct,)` int64 catalogue rows of every item in the batch, each once: first those that get gradient,
            by length of text, then those whose vectors come from the cache; the uniform negatives are among them, and
            what else gets gradient.
        tokens: of the first `n_encoded` of `items`.
        n_encoded: how many of `items` are encoded with gradient.
        history: `(batch, history)` int64 rows of `items`; where the user tower reads text, -1, too, for what
            isn't among them.
        targets: `(batch, positions)` int64 rows of `items`: what came next after each position of the history, or one
            column for what came after the last.
        known: `(batch, known)` int64 catalogue rows of all that the user met in training: never a negative.
        log_q: `(distinct,)` float32 log of the chance that the item is in a batch, counted on the training part.
        trainable: `(trainable,)` int64 catalogue rows, ascending, that may be candidates; None for all of them.
        history_tokens: the history's texts joined, where the user tower reads those.
        n_tokens: tokens of the encoded items, without filling.
        shares: `(n_encoded,)` float32, how much of each encoded item's gradient counts, see `draw_encoded`; None for 1.
        stands_in: whether its users count in another process's batch, and it only keeps this one in step: no target is
            there, and its items are no candidates.
    """

    items: Tensor
    tokens: TokenBatch
    n_encoded: int
    history: Tensor
    targets: Tensor
    known: Tensor
    log_q: Tensor
    trainable: Tensor | None = None
    history_tokens: TokenBatch | None = None
    n_tokens: int = 0
    shares: Tensor | None = None
    stands_in: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """What a step's speed is told in."""
        return {"items": self.n_encoded, "tokens": self.n_tokens, "users": len(self.history)}


@dataclass
class EvalBatch(Batch):
    """Cases to rank the catalogue for.

    Attributes:
        users: `(batch,)` int64 users of the interactions, -1 for someone else.
        history: `(batch, history)` int64 catalogue rows, newest in the last column, -1 at the left where there is none.
        targets: `(batch, relevant)` int64 catalogue rows, -1 at the right.
        known: `(batch, known)` int64 catalogue rows that are no candidates, -1 at the right.
        history_tokens: the history's texts joined, where the user tower reads those.
    """

    users: Tensor
    history: Tensor
    targets: Tensor
    known: Tensor
    history_tokens: TokenBatch | None = None

    def part(self, start: int, stop: int) -> "EvalBatch":
        """The cases from `start` up to `stop`."""
        if start == 0 and stop >= len(self.users):
            return self
        rows = slice(start, stop)
        text = self.history_tokens
        few = TokenBatch(text.ids[rows], text.mask[rows], ()) if text is not None else None
        return EvalBatch(self.users[rows], self.history[rows], self.targets[rows], self.known[rows], few)


@dataclass(frozen=True)
class TrainCollator:
    """Makes a `TrainBatch` of spans of the training interactions.

    Its draws (negatives, which items get gradient, where a history is cut) follow from the seed, the epoch and the
    batch's first span, so they are the same whatever the number of workers, and after a resume.

    Args:
        train: the training part.
        tokens: of the catalogue's texts.
        log_q: `(items,)` float32, see `TrainBatch`.
        spans: `(spans, 2)` int64 rows of `train`: each holds a history and, shifted by one, its targets.
        n_negatives: items drawn uniformly for each batch, from all that may be trained on.
        trainable: `(trainable,)` int64 catalogue rows, ascending, that may be trained on; None for all of them.
        max_encoded: most items a batch that get gradient; None for all.
        from_catalogue: whether what may be trained on beside the batch's items gets gradient, too: where they are
            candidates, as they are of a softmax over the whole catalogue.
        history_tokens: most tokens of a history's joined text; None where the user tower reads vectors.
        seed: of the draws.
        max_buckets: most spans of alike length that the encoded items are cut into.
        cut_share: share of the spans that are cut in two at a random place, see `RecallDataModule`.
    """

    train: Interactions
    tokens: Tokens
    log_q: np.ndarray[Any, np.dtype[np.float32]]
    spans: Ints
    n_negatives: int
    trainable: Ints | None
    max_encoded: int | None
    from_catalogue: bool
    history_tokens: int | None
    seed: int
    max_buckets: int
    cut_share: float

    def __call__(self, keys: Sequence[tuple[int, int]]) -> TrainBatch:
        """Args:
        keys: `(epoch, span)` of each sequence, as of an `EpochSampler`.
        """
        epoch, (chosen, real) = keys[0][0], counted(keys)
        rng = np.random.default_rng([self.seed, epoch, int(chosen[0])])
        starts, stops = self.spans[chosen].T
        if self.history_tokens is not None:  # the text of a history has one vector: one position a user
            stops = starts + 1 + rng.integers(1, stops - starts, dtype=np.int64)
        elif self.cut_share:
            starts, stops, real = cut_in_two(starts, stops, real, self.cut_share, rng)
        lengths = stops - starts - 1
        history = pad(self.train.items[spans(starts, stops - 1)], lengths, fill=-1, left=True)
        if self.history_tokens is not None:
            targets = self.train.items[stops - 1][:, None]
        else:
            targets = pad(self.train.items[spans(starts + 1, stops)], lengths, fill=-1, left=True)
        users = np.searchsorted(self.train.offsets, starts, side="right") - 1
        return self.assemble(users, history, np.where(real[:, None], targets, -1), rng)

    def assemble(self, users: Ints, history: Ints, targets: Ints, rng: np.random.Generator) -> TrainBatch:
        """Draw negatives, number the batch's items, and look up what goes with them.

        Args:
            users: `(batch,)` int64 users of the training part.
            history: `(batch, history)` int64 catalogue rows, -1 at the left.
            targets: `(batch, positions)` int64 catalogue rows, -1 where there is none.
            rng: of the draws.
        """
        n_items = len(self.log_q)
        free = self.trainable
        negatives = rng.integers(0, n_items if free is None else len(free), self.n_negatives)
        negatives = negatives if free is None else free[negatives]
        met = [targets[targets >= 0], negatives]
        if self.history_tokens is None or not len(met[0]):  # else the history is read as one text
            met.append(history[history >= 0])
        items = np.unique(np.concatenate(met))
        others = np.array([], np.int64)
        if self.from_catalogue:
            others = np.setdiff1d(np.arange(n_items) if free is None else free, items, assume_unique=True)
        first, shares = draw_encoded(items, others, self.max_encoded, rng)
        by_length = np.argsort(self.tokens.lengths[first], kind="stable")
        first, shares, n_encoded = first[by_length], shares[by_length], len(first)
        items = np.concatenate([first, np.setdiff1d(items, first, assume_unique=True)])

        local = np.full(n_items + 1, -1, np.int64)  # one more, so that -1 stays -1
        local[items] = np.arange(len(items))
        joined = None
        if self.history_tokens is not None:
            joined = self.tokens.joined(history, max_tokens=self.history_tokens)
        return TrainBatch(
            items=torch.from_numpy(items),
            tokens=self.tokens.batch(items[:n_encoded], max_buckets=self.max_buckets),
            n_encoded=n_encoded,
            history=torch.from_numpy(local[history]),
            targets=torch.from_numpy(local[targets]),
            known=torch.from_numpy(_rows(self.train.items, self.train.offsets[users], self.train.offsets[users + 1])),
            log_q=torch.from_numpy(self.log_q[items]),
            trainable=None if free is None else torch.from_numpy(free),
            history_tokens=joined,
            n_tokens=int(self.tokens.lengths[items[:n_encoded]].sum()),
            shares=torch.from_numpy(shares) if self.from_catalogue else None,
            stands_in=not (targets >= 0).any(),
        )


@dataclass(frozen=True)
class EvalCollator:
    """Makes an `EvalBatch` of cases.

    Args:
        cases: the cases.
        tokens: of the catalogue's texts.
        max_history: how many of the newest items of a history are given; None for all.
        history_tokens: see `TrainCollator`.
    """

    cases: Cases
    tokens: Tokens
    max_history: int | None
    history_tokens: int | None

    def __call__(self, chosen: Sequence[int]) -> EvalBatch:
        items = self.cases.interactions.items
        rows = np.asarray(chosen, np.int64)
        starts, stops = self.cases.history[rows].T
        recent = starts if self.max_history is None else np.maximum(starts, stops - self.max_history)
        history = _rows(items, recent, stops, left=True)
        joined = None
        if self.history_tokens is not None:
            joined = self.tokens.joined(history, max_tokens=self.history_tokens)
        return EvalBatch(
            users=torch.from_numpy(self.cases.users[rows]),
            history=torch.from_numpy(history),
            targets=torch.from_numpy(_rows(items, *self.cases.targets[rows].T)),
            known=torch.from_numpy(_rows(items, *self.cases.known[rows].T)),
            history_tokens=joined,
        )


def _rows(items: Ints, starts: Ints, stops: Ints, *, left: bool = False) -> Ints:
    return pad(items[spans(starts, stops)], stops - starts, fill=-1, left=left)


def draw_encoded(
    items: Ints, others: Ints, most: int | None, rng: np.random.Generator
) -> tuple[Ints, np.ndarray[Any, np.dtype[np.float32]]]:
    """Draw the items of a step that get gradient.

    Two thirds of them are a batch's items, a third are other candidates, and each stands for those of its kind that
    weren't drawn: `share = (items of its kind / drawn of it) / (all / drawn)`. So the encoder's gradient is on average,
    up to a factor, that of all candidates. Of a batch's items alone it wouldn't be: they are there because somebody
    took them, and an encoder that is only told so moves all texts to where users are.

    Args:
        items: `(distinct,)` int64 a batch's items.
        others: `(others,)` int64 candidates beside them.
        most: that are drawn; None for all items, and half as many others.
        rng: of the draws.

    Returns:
        `(drawn,)` int64, and float32 shares, 1 on average.
    """
    room = most or -(-len(items) * 3 // 2)
    n_others = min(len(others), max(-(-room // 3) if room > 1 else 0, room - len(items)))
    n_items = min(len(items), room - n_others)
    drawn, shares = [], []
    for kind, n in ((items, n_items), (others, n_others)):
        drawn.append(rng.permutation(kind)[:n] if n < len(kind) else kind)
        shares.append(np.full(n, len(kind) / n if n else 0.0, np.float32))
    share = np.concatenate(shares)
    return np.concatenate(drawn), share / max(float(share.mean()), 1e-12) if len(share) else share


def log_batch_chance(
    counts: Ints, drawn: float, n_negatives: int, n_drawable: int | None = None
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Log of the chance that each item is among a batch's distinct items.

    `q_c = 1 - (1 - p_c)^drawn (1 - 1/n)^negatives`, with `p_c` the item's share of the training interactions: the
    chance of at least one of `drawn` draws by popularity or of the uniform ones (Yi et al., RecSys 2019; mixed with
    uniform negatives: Yang et al., WWW 2020).

    Args:
        counts: `(items,)` int64 training interactions of each item.
        drawn: interactions a batch, on average.
        n_negatives: uniform draws a batch.
        n_drawable: items that those are drawn from, by default all.

    Returns:
        `(items,)` float32; an item that can't be drawn gets the value of the rarest that can.
    """
    share = counts / max(counts.sum(), 1)
    # log(1 - p) n, so that small chances keep their digits
    log_absent = drawn * np.log1p(-np.minimum(share, 1 - 1e-12)) + n_negatives * np.log1p(
        -1 / max(n_drawable or len(counts), 2)
    )
    chance = -np.expm1(log_absent)
    possible = chance > 0
    chance[~possible] = chance[possible].min() if possible.any() else 1.0
    return np.log(chance).astype(np.float32)
