"""Guarded: a checkpoint within guard rails as a contender, and what they cost and gain."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.bootstrap import intervals
from recall_lightning.baselines.cache import Result
from recall_lightning.baselines.evaluate import LONGEST_LIST
from recall_lightning.baselines.trained import Trained
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.metrics.beyond_accuracy import coverage, exposure
from recall_lightning.metrics.ranking import recall_at_k
from recall_lightning.models.scoring import set_aside
from recall_lightning.models.selection import best_columns
from recall_lightning.retrieval.rails import Guard, Rails


class Guarded(Contender):
    """A checkpoint's lists as `recommend` gives them within rails.

    Lists hold `LONGEST_LIST` items; what is on none is no hit at any k.

    Args:
        model: the checkpoint.
        rails: what its lists are kept within.
        what: the rails in a few words.
    """

    serves_new_items = True
    counts_interactions = False

    def __init__(self, model: Trained, rails: Rails, what: str) -> None:
        self.model, self.rails = model, rails
        self.name = f"{what}, {model.name}"
        super().__init__()

    @property
    def identity(self) -> dict[str, Any]:
        """The table of attributes by its content."""
        asked = asdict(replace(self.rails, attributes=None, where={}, quotas={}))
        if (attributes := self.rails.attributes) is not None:
            table = repr((attributes.separator, attributes.table.to_pydict()))
            asked["attributes"] = hashlib.blake2b(table.encode(), digest_size=16).hexdigest()
        return {**self.model.identity, **asked, "where": self.rails.where, "quotas": self.rails.quotas}

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        """Encode the catalogue, and look up the rails in it; nothing is learned.

        Raises:
            InputError: if the rails leave no item, or the attributes lack a column.
        """
        self.model.fit(train, data)
        module = self.model.module
        assert module.background is not None
        vectors = module.model.without_prior(module.item_vectors)
        counts, temperature = module.background.counts.float(), float(module.loss.temperature)
        self.guard = Guard(self.rails, module.background.catalogue, vectors, counts, temperature)

    def score(self, batch: EvalBatch) -> Tensor:
        # of whom nothing is known: their scores are counts, which nothing penalises
        nobody = (batch.history < 0).all(1)
        scores = self.model.score(batch)
        if rescored := self.guard.rescored(None):
            scores = torch.where(nobody[:, None], scores, rescored(slice(None), scores))
        set_aside(scores, known=batch.known, candidates=self.guard.allowed)
        if not self.guard.chooses:
            return scores

        def ranked(depth: int) -> tuple[Tensor, Tensor]:
            best, rows = best_columns(scores, min(depth, scores.shape[1]))
            return best, rows.masked_fill(best == -torch.inf, -1)

        _, rows = self.guard.lists(ranked, min(LONGEST_LIST, scores.shape[1]))
        users, places = (rows >= 0).nonzero(as_tuple=True)
        in_order = torch.full_like(scores, -torch.inf)
        in_order[users, rows[users, places]] = -places.to(scores.dtype)
        return in_order


def cost_and_gain(
    results: Mapping[str, Result], pairs: Sequence[tuple[str, str]], cases: str, n_items: int, k: int
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what rails cost in recall, with 95% intervals over the same users, and gain in coverage.

    Args:
        results: by the contender's name.
        pairs: names of a model within rails, and of the same without.
        cases: which are told.
        n_items: of the catalogue.
        k: length of the lists.
    """
    rows = []
    for guarded, plain in pairs:
        ranked = [results[name].rankings.get(cases) if name in results else None for name in (guarded, plain)]
        if ranked[0] is None or ranked[1] is None:
            continue
        recalls = [recall_at_k(rankings.ranks, k).double().numpy() for rankings in (ranked[0], ranked[1])]
        found = intervals(np.stack(recalls, 1), against=1)
        shown = [float(coverage(exposure(rankings.lists[:, :k], n_items))) for rankings in (ranked[0], ranked[1])]
        low, high = found["difference_low"][0], found["difference_high"][0]
        rows.append([
            guarded, f"{found['mean'][0]:.4f}", f"{found['difference'][0]:+.4f} ({low:+.4f} to {high:+.4f})",
            f"{shown[0]:.4f}", f"{shown[0] - shown[1]:+.4f}",
        ])  # fmt: skip
    return ["guard rails", f"recall@{k}", "cost in recall", f"coverage@{k}", "gain in coverage"], rows
