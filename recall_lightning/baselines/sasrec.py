"""SASRec: a causal transformer over items, known by an embedding each or by their texts, with the full softmax."""

import copy
import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_lightning.baselines.base import Contender, UnavailableError, last_of
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.text_vectors import encoder_digest, text_vectors
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import pad, spans
from recall_lightning.data.sequences import sequences
from recall_lightning.models.user_tower import TransformerTower

log = logging.getLogger(__name__)


class Embeddings(nn.Module):
    """A trained vector an item: called, it gives them all, `(items, dim)`."""

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(n_items, dim) * dim**-0.5)

    def forward(self) -> Tensor:
        return self.vectors


class Projected(nn.Module):
    """Texts' fixed vectors under one trained linear map: called, it gives all items', `(items, dim)`.

    Args:
        texts: `(items, width)` float vectors.
        known: `(items,)` bool: of these alone are the columns' mean and deviation, by which all are made alike.
        dim: width of the result.
    """

    texts: Tensor

    def __init__(self, texts: Tensor, known: Tensor, dim: int) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(texts[known], 0, correction=0)
        self.register_buffer("texts", (texts - mean) / deviation.clamp(min=1e-6), persistent=False)
        self.map = nn.Linear(texts.shape[1], dim)

    def forward(self) -> Tensor:
        vectors: Tensor = self.map(self.texts)
        return vectors


class SASRec(Contender):
    """An embedding an item under this package's own `TransformerTower`, so that text is all that differs.

    Kang and McAuley, ICDM 2018, with the cross-entropy over the whole catalogue that Klenitskiy and Vasilev (RecSys
    2023) and Petrov and Macdonald (RecSys 2023) found to lift it well above its published figures. It trains until the
    validation recall@10 has not risen for `patience` epochs, and keeps the best epoch's weights. A GPU is used where
    there is one.

    Args:
        dim: width of the embeddings.
        max_history: newest items that the transformer sees.
        batch_size: sequences a step.
        learning_rate: of Adam.
        dropout: in the tower.
        patience: epochs without a gain before it stops.
        max_epochs: it stops there at the latest.
        seed: of weights, order and dropout.
    """

    name = "SASRec (ids)"
    counts_interactions = False  # it learns from orders, and takes too long to be trained for each cut

    def __init__(
        self, *, dim: int = 64, max_history: int = 100, batch_size: int = 32, learning_rate: float = 1e-3,
        dropout: float = 0.2, patience: int = 4, max_epochs: int = 100, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dim, self.max_history, self.batch_size, self.learning_rate = dim, max_history, batch_size, learning_rate
        self.dropout, self.patience, self.max_epochs, self.seed = dropout, patience, max_epochs, seed

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "dim": self.dim, "max_history": self.max_history, "batch_size": self.batch_size,
            "learning_rate": self.learning_rate, "dropout": self.dropout, "patience": self.patience,
            "max_epochs": self.max_epochs, "seed": self.seed,
        }  # fmt: skip

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Train, and stop by the validation cases.

        Raises:
            UnavailableError: if there is nothing to train on, or to stop by.
        """
        if not (train.lengths > 1).any() or not len(data.split.validation):
            raise UnavailableError("needs users with two training interactions, and validation cases")
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        held = data.split.held_items
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.held = None if held is None else torch.from_numpy(held).to(device)
        self.counts = torch.from_numpy(np.bincount(train.items, minlength=len(data.catalogue)))
        self.items = self.known_by(data).to(device)
        self.tower = TransformerTower(layers=2, heads=2, dropout=self.dropout)
        self.tower.shape(self.dim, self.max_history)
        self.tower.to(device)
        optimizer = torch.optim.Adam(
            [*self.items.parameters(), *self.tower.parameters()], lr=self.learning_rate, betas=(0.9, 0.98)
        )
        cut = sequences(train, self.max_history)
        best, best_recall, best_epoch = self._weights(), -1.0, 0
        for epoch in range(1, self.max_epochs + 1):
            self.tower.train()
            started, total, n_steps = time.perf_counter(), 0.0, 0
            for history, targets in self._batches(train, cut, rng):
                optimizer.zero_grad()
                loss = self._loss(history.to(device), targets.to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total, n_steps = total + loss.item(), n_steps + 1
            self.vectors = self.items().detach()
            recall = recall_of(rank_cases(self, data.split.validation, data, lists=False), 10)
            seconds = time.perf_counter() - started
            log.info(
                "%s epoch %d: loss %.3f, val recall@10 %.4f, %.0f s", self.name, epoch, total / n_steps, recall, seconds
            )
            if recall > best_recall:
                best, best_recall, best_epoch = self._weights(), recall, epoch
            elif epoch - best_epoch >= self.patience:
                break
        self.settings["epochs"] = best_epoch
        for part, weights in zip((self.items, self.tower), best, strict=True):
            part.load_state_dict(weights)
        self.vectors = self.items().detach()

    def known_by(self, data: RecallDataModule) -> nn.Module:
        """What gives the items' vectors, `(items, dim)`, when called."""
        return Embeddings(len(data.catalogue), self.dim)

    def score(self, batch: EvalBatch) -> Tensor:
        self.tower.eval()
        history = last_of(batch.history, self.max_history).to(self.vectors.device)
        scores = (self._users(history, self.vectors)[:, -1] @ self.vectors.T).cpu()
        if not self.serves_new_items:
            scores[:, self.counts == 0] = scores.amin() - 1  # all that such an item has is its random start
        scores[(batch.history < 0).all(1)] = self.counts.to(scores.dtype)  # of whom nothing is known: popularity
        return scores

    def _weights(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return copy.deepcopy(self.items.state_dict()), copy.deepcopy(self.tower.state_dict())

    def _users(self, history: Tensor, items: Tensor) -> Tensor:
        present = history >= 0
        users: Tensor = self.tower(items[history.clamp(min=0)] * present[..., None], present)
        return users

    def _loss(self, history: Tensor, targets: Tensor) -> Tensor:
        items = self.items()
        logits = self._users(history, items)[targets >= 0] @ items.T  # (positions, items)
        if self.held is not None:
            logits = logits.masked_fill(self.held, -torch.inf)
        return F.cross_entropy(logits, targets[targets >= 0])

    def _batches(
        self, train: Interactions, cut: np.ndarray[Any, np.dtype[np.int64]], rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Histories and what came next after each position; sequences of a batch are of about the same length."""
        lengths = cut[:, 1] - cut[:, 0]
        order = np.argsort(lengths + rng.random(len(cut)) * 0.2 * lengths, kind="stable")
        groups = np.array_split(order, max(1, len(order) // self.batch_size))
        for group in rng.permutation(len(groups)).tolist():
            starts, stops = cut[groups[group]].T
            n = stops - starts - 1
            history = pad(train.items[spans(starts, stops - 1)], n, fill=-1, left=True)
            targets = pad(train.items[spans(starts + 1, stops)], n, fill=-1, left=True)
            yield torch.from_numpy(history), torch.from_numpy(targets)


class TextSASRec(SASRec):
    """`SASRec` whose items are their texts' vectors by the untouched encoder, under a trained linear map.

    So it can rank items that nobody took (the text-only kind of Hou et al., UniSRec, KDD 2022, without its
    pretraining).

    Args:
        encoder: folder of the data's encoder.
        **options: of `SASRec`.
    """

    name = "SASRec (text)"
    serves_new_items = True

    def __init__(self, encoder: str, **options: Any) -> None:
        super().__init__(**options)
        self.encoder = encoder

    @property
    def identity(self) -> dict[str, Any]:
        return super().identity | {"encoder": encoder_digest(self.encoder)}

    def known_by(self, data: RecallDataModule) -> nn.Module:
        """The texts' vectors, mapped.

        Raises:
            InputError: if the encoder can't be read.
        """
        vectors = text_vectors(data)
        torch.manual_seed(self.seed)  # an encoder that lacks some weights draws them, unless its vectors were kept
        held = data.split.held_items
        known = torch.ones(len(data.catalogue), dtype=torch.bool) if held is None else ~torch.from_numpy(held)
        return Projected(vectors, known, self.dim)
