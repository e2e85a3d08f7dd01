"""MetricsByCutoff: one chart a metric, a curve for each k."""

import lightning as L
from lightning.pytorch.callbacks import Callback

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.metrics.ranking import MEASURES


class MetricsByCutoff(Callback):
    """Lays out TensorBoard's page *Custom scalars*: validation recall, precision, nDCG, ... each at all ks together."""

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        writer = writer_of(trainer)
        if writer is not None:
            ks = module.hparams["ks"]
            charts = {f"{name} by k": ["Multiline", [f"val/{name}@{k}" for k in ks]] for name in MEASURES}
            writer.add_custom_scalars({"validation": charts})
