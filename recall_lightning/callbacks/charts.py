"""MetricsByCutoff: charts of several curves that are read together."""

from collections.abc import Iterable

import lightning as L
from lightning.pytorch.callbacks import Callback

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.metrics.ranking import MEASURES
from recall_lightning.modules.maml import MAMLRecallModule


class MetricsByCutoff(Callback):
    """Lays out TensorBoard's page *Custom scalars*: validation recall, precision, nDCG, ... each at all ks together.

    Of a module that adapts to users also recall and its gain by number of support interactions, and the losses by inner
    step.
    """

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        writer = writer_of(trainer)
        if writer is None:
            return
        ks = module.hparams["ks"]
        pages = {"validation": {f"{name} by k": _chart(f"val/{name}@{k}" for k in ks) for name in MEASURES}}
        if isinstance(module, MAMLRecallModule):
            support, steps, at = module.data.eval_support, range(module.inner_loop.steps + 1), f"recall@{ks[0]}"
            pages["adaptation"] = {
                "recall by support": _chart(f"val_support_{k}/{at}" for k in support),
                "gain by support": _chart(f"val_support_{k}/gain_{at}" for k in support),
                "support loss by step": _chart(f"support_loss/step_{step}" for step in steps),
                "query loss by step": _chart(f"query_loss/step_{step}" for step in steps[1:]),
            }
        writer.add_custom_scalars(pages)


def _chart(tags: Iterable[str]) -> list[str | list[str]]:
    # TensorBoard takes a tag for the start of a pattern: at k = 1, that of k = 10 would be drawn, too
    return ["Multiline", [f"{tag}$" for tag in tags]]
