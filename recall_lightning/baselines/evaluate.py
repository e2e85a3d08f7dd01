"""Full-catalogue rankings of a contender, kept so that any metric can be computed of them later."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from recall_lightning.baselines.base import Contender
from recall_lightning.data.batches import EvalBatch, EvalCollator
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.sampler import Keys
from recall_lightning.data.splits import Cases
from recall_lightning.metrics.ranking import recall_at_k
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.scoring import set_aside
from recall_lightning.models.selection import best_columns

SCORES_AT_ONCE = 2**20  # 8 MiB of float64, which stay in a processor's cache: twice as fast as 8 times as many
LONGEST_LIST = 100  # metrics of lists (coverage, novelty) reach up to this k; metrics of ranks reach any


@dataclass(frozen=True)
class Rankings:
    """What a contender made of cases.

    Attributes:
        ranks: `(cases, relevant)` int64 places of the targets in the whole catalogue, as of `target_ranks`.
        lists: `(cases, LONGEST_LIST or items)` int64 catalogue rows, best first, -1 where candidates run out.
        among: `(cases, relevant)` int64 places among the new items alone (`Cases.among`), or None.
    """

    ranks: Tensor
    lists: Tensor
    among: Tensor | None = None


@torch.inference_mode()
def rank_cases(contender: Contender, cases: Cases, data: RecallDataModule, *, lists: bool = True) -> Rankings:
    """Rank the whole catalogue for each case.

    Args:
        contender: already fitted.
        cases: whom to recommend to.
        data: that the cases are of.
        lists: whether the best items are wanted, or the targets' ranks alone.
    """
    n_items = len(data.catalogue)
    among = None if cases.among is None else torch.from_numpy(cases.among)
    ranks, best, ranks_among = [], [], []
    for batch in _batches(cases, data):
        scores = set_aside(contender.score(batch), known=batch.known)
        ranks.append(target_ranks(scores, batch.targets))
        if lists:
            found, rows = best_columns(scores, min(LONGEST_LIST, n_items))
            best.append(rows.masked_fill(found == -torch.inf, -1))
        if among is not None:
            ranks_among.append(target_ranks(set_aside(scores, candidates=among), batch.targets))
    return Rankings(
        stack_ranks(ranks),
        torch.cat(best) if best else torch.empty(len(cases), 0),
        stack_ranks(ranks_among) if ranks_among else None,
    )


@torch.inference_mode()
def recalls_by(
    contender: Contender, cases: Cases, data: RecallDataModule, name: str, values: Sequence[Any], *, k: int
) -> list[float]:
    """Mean recall over the cases by each value of a setting, in one pass over them.

    Args:
        contender: already fitted.
        cases: whom to recommend to.
        data: that the cases are of.
        name: of a setting of the contender's `score_grid`.
        values: of it.
        k: cut-off.
    """
    ranks: list[list[Tensor]] = [[] for _ in values]
    for batch in _batches(cases, data):
        for found, scores in zip(ranks, contender.score_by(batch, name, values), strict=True):
            found.append(target_ranks(set_aside(scores, known=batch.known), batch.targets))
    return [recall_of(Rankings(stack_ranks(found), torch.empty(0)), k) for found in ranks]


def _batches(cases: Cases, data: RecallDataModule) -> Iterator[EvalBatch]:
    at_once = max(1, min(data.eval_batch_size, SCORES_AT_ONCE // len(data.catalogue)))
    collate = EvalCollator(cases, data.tokens, max_history=None, history_tokens=None)
    for batch in DataLoader(Keys(), sampler=range(len(cases)), batch_size=at_once, collate_fn=collate):
        assert isinstance(batch, EvalBatch)
        yield batch


def recall_of(rankings: Rankings, k: int) -> float:
    """Mean recall over the cases."""
    return float(recall_at_k(rankings.ranks, k).nanmean())


def stack_ranks(parts: list[Tensor]) -> Tensor:
    """Ranks of batches, each `(cases, relevant)`, under one another, filled up with -1 at the right."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1]), value=-1) for part in parts])
