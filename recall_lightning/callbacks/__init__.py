"""What a run shows: pages of TensorBoard, and columns of any other logger."""

from lightning.pytorch.callbacks import Callback

from recall_lightning.callbacks.adaptation import AdaptationCharts
from recall_lightning.callbacks.charts import MetricsByCutoff
from recall_lightning.callbacks.epochs import EpochLines
from recall_lightning.callbacks.heap import HeapTrim
from recall_lightning.callbacks.hyperparameters import FinalMetrics
from recall_lightning.callbacks.interrupted import Interrupted
from recall_lightning.callbacks.predictions import RecommendationWriter
from recall_lightning.callbacks.projector import ItemSpace
from recall_lightning.callbacks.rates import Rates
from recall_lightning.callbacks.resumed import Resumed
from recall_lightning.callbacks.samples import RecommendationSamples
from recall_lightning.callbacks.similarities import SimilarityHistograms
from recall_lightning.callbacks.test_report import TestReport
from recall_lightning.callbacks.threshold import ThresholdCharts


def default_callbacks(method: str = "recall") -> list[Callback]:
    """Those that the program always uses; each does nothing where the logger can't show it.

    Args:
        method: `pretrain` has no users and no lists to show.
    """
    if method == "pretrain":
        return [Rates(), FinalMetrics(best=min), EpochLines(), HeapTrim(), Resumed(), Interrupted()]
    shown = [Rates(), AdaptationCharts(), MetricsByCutoff(), ThresholdCharts(), SimilarityHistograms()]
    shown += [RecommendationSamples(), ItemSpace(), FinalMetrics(), TestReport(), EpochLines()]
    return [*shown, RecommendationWriter(), HeapTrim(), Resumed(), Interrupted()]
