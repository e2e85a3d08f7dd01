"""Metrics of rankings: plain functions of ranks, and `torchmetrics.Metric`s around them."""

from recall_lightning.metrics.ranking import (
    HitRateAtK,
    MRRAtK,
    NDCGAtK,
    PrecisionAtK,
    RankingMetrics,
    RecallAtK,
    hit_rate_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from recall_lightning.metrics.ranks import EXCLUDED, target_ranks

__all__ = [
    "EXCLUDED",
    "HitRateAtK",
    "MRRAtK",
    "NDCGAtK",
    "PrecisionAtK",
    "RankingMetrics",
    "RecallAtK",
    "hit_rate_at_k",
    "mrr_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "recall_at_k",
    "target_ranks",
]
