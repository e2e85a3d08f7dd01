"""Full-catalogue metrics of a contender."""

from collections.abc import Sequence

import torch

from recall_lightning.baselines.base import Contender
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.metrics import RankingMetrics
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.scoring import SCORES_AT_ONCE, set_aside


@torch.inference_mode()
def evaluate(contender: Contender, data: RecallDataModule, part: str, ks: Sequence[int]) -> dict[str, float]:
    """Metrics over the cases of a part.

    Args:
        contender: already fitted.
        data: already set up.
        part: `validation` or `test`.
        ks: cut-offs.

    Returns:
        Values by name, such as `recall@10`.
    """
    metrics = RankingMetrics(ks)
    loader = data.val_dataloader() if part == "validation" else data.test_dataloader()
    users_at_once = max(1, SCORES_AT_ONCE // len(data.catalogue))
    for batch in loader:
        assert isinstance(batch, EvalBatch)
        for start in range(0, len(batch.users), users_at_once):
            few = batch.part(start, start + users_at_once)
            scores = set_aside(contender.score(few), known=few.known)
            metrics.update_ranks(target_ranks(scores, few.targets))
    return {name: float(value) for name, value in metrics.compute().items()}
