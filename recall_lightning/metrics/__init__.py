"""Metrics of rankings: plain functions of tensors, and `torchmetrics.Metric`s around them."""

from recall_lightning.metrics.beyond_accuracy import (
    BeyondAccuracy,
    coverage,
    exposure,
    gini,
    intra_list_diversity,
    novelty,
    popularity_lift,
)
from recall_lightning.metrics.groups import (
    ByGroup,
    history_groups,
    item_popularity_groups,
    target_group_recall,
)
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
from recall_lightning.metrics.threshold import RecallPrecisionAtThreshold, ThresholdCurve, ThresholdPoint

__all__ = [
    "EXCLUDED",
    "BeyondAccuracy",
    "ByGroup",
    "HitRateAtK",
    "MRRAtK",
    "NDCGAtK",
    "PrecisionAtK",
    "RankingMetrics",
    "RecallAtK",
    "RecallPrecisionAtThreshold",
    "ThresholdCurve",
    "ThresholdPoint",
    "coverage",
    "exposure",
    "gini",
    "history_groups",
    "hit_rate_at_k",
    "intra_list_diversity",
    "item_popularity_groups",
    "mrr_at_k",
    "ndcg_at_k",
    "novelty",
    "popularity_lift",
    "precision_at_k",
    "recall_at_k",
    "target_group_recall",
    "target_ranks",
]
