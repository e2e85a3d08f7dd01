"""SASRec: a causal transformer over item ids, trained with the full softmax."""

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
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule, sequences
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import pad, spans
from recall_lightning.models.user_tower import TransformerTower

log = logging.getLogger(__name__)


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
        self.items = nn.Parameter((torch.randn(len(data.catalogue), self.dim) * self.dim**-0.5).to(device))
        self.tower = TransformerTower(layers=2, heads=2, dropout=self.dropout)
        self.tower.shape(self.dim, self.max_history)
        self.tower.to(device)
        optimizer = torch.optim.Adam([self.items, *self.tower.parameters()], lr=self.learning_rate, betas=(0.9, 0.98))
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
        self.items.data, state = best
        self.tower.load_state_dict(state)

    def score(self, batch: EvalBatch) -> Tensor:
        self.tower.eval()
        history = last_of(batch.history, self.max_history).to(self.items.device)
        scores = (self._users(history)[:, -1] @ self.items.T).cpu()
        scores[:, self.counts == 0] = scores.amin() - 1  # all that such an item has is its random start
        scores[(batch.history < 0).all(1)] = self.counts.to(scores.dtype)  # of whom nothing is known: popularity
        return scores

    def _weights(self) -> tuple[Tensor, dict[str, Any]]:
        return self.items.detach().clone(), copy.deepcopy(self.tower.state_dict())

    def _users(self, history: Tensor) -> Tensor:
        present = history >= 0
        users: Tensor = self.tower(self.items[history.clamp(min=0)] * present[..., None], present)
        return users

    def _loss(self, history: Tensor, targets: Tensor) -> Tensor:
        users = self._users(history)[targets >= 0]
        logits = users @ self.items.T  # (positions, items)
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
