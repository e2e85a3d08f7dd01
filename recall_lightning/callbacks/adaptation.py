"""AdaptationCharts: what the inner loop does, and what it is worth."""

import importlib.util
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.modules.maml import MAMLRecallModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


class AdaptationCharts(Callback):
    """Logs losses by inner step, learned step sizes and gradient norms; draws recall before and after adaptation.

    The picture, a page *adaptation* in TensorBoard's *Images* at each validation, needs matplotlib. Of a module that
    doesn't adapt nothing is shown.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.able = importlib.util.find_spec("matplotlib") is not None
        if not self.able and isinstance(pl_module, MAMLRecallModule) and writer_of(trainer) is not None:
            log.info("no page of the adaptation, which needs matplotlib: pip install 'recall-lightning[compare]'")

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._norms: dict[str, float] | None = None  # of the step that is to be logged

    def on_before_optimizer_step(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer) -> None:
        # the Trainer clips after this hook, and counts the step after it
        due = (trainer.global_step + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if isinstance(module, MAMLRecallModule) and due and trainer.loggers:
            self._norms = gradient_norms(module)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(module, MAMLRecallModule) or self._norms is None:
            return
        support, query = outputs["support_losses"].tolist(), outputs["query_losses"].tolist()
        values = {f"support_loss/step_{step}": loss for step, loss in enumerate(support)}
        values |= {f"query_loss/step_{step}": loss for step, loss in enumerate(query, len(support) - len(query))}
        values |= mean_step_sizes(module.rates) | {f"gradient_norm/{of}": norm for of, norm in self._norms.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        self._norms = None

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        writer = writer_of(trainer)
        if not isinstance(module, MAMLRecallModule) or writer is None or trainer.sanity_checking:
            return
        for tag, values in learned_step_sizes(module.rates):
            if values.numel() > 1:
                writer.add_histogram(tag, values.float().cpu(), trainer.global_step)
        if self.able:
            at = f"recall@{module.hparams['ks'][0]}"
            figure = draw(trainer.callback_metrics, module.data.eval_support, at)
            writer.add_figure("adaptation", figure, trainer.global_step)


def gradient_norms(module: MAMLRecallModule) -> dict[str, float]:
    """Euclidean norms of the outer gradient, by part of the model; a part without gradient has none.

    Where the fast weights are the user tower's own, they are in `towers`, too.
    """
    model, fast = module.model, module.fast_weights
    words = [] if model.words is None else [model.words.vectors]
    parts: dict[str, Iterable[nn.Parameter]] = {
        "encoder": model.encoder.parameters(),
        "towers": [*model.item_tower.parameters(), *words, *model.user_tower.parameters()],
        "fast_weights": {*fast.parameters(), *fast.adapted.parameters()},
        "step_sizes": module.rates.parameters(),
    }
    gradients = {of: [p.grad for p in weights if p.grad is not None] for of, weights in parts.items()}
    return {of: float(nn.utils.get_total_norm(found)) for of, found in gradients.items() if found}


def learned_step_sizes(rates: StepSizes) -> list[tuple[str, Tensor]]:
    """Tag and values of each, by name of the weight, and by step (from 1) where each step has its own."""
    return [
        (f"step_sizes/{name}" + (f"/step_{step}" if rates.per_step else ""), of_step)
        for name, values in zip(rates.names, rates.values, strict=True)
        if values.requires_grad
        for step, of_step in enumerate(values.detach(), 1)
    ]


def mean_step_sizes(rates: StepSizes) -> dict[str, float]:
    """The means of `learned_step_sizes`, by tag."""
    tagged = learned_step_sizes(rates)
    means = torch.stack([values.mean() for _, values in tagged]).tolist() if tagged else []
    return dict(zip([tag for tag, _ in tagged], means, strict=True))


def draw(metrics: Mapping[str, Tensor], support: Sequence[int], name: str) -> "Figure":
    """A metric before and after adaptation, over the number of support interactions.

    Args:
        metrics: with `val_support_{k}/{name}` and `val_support_{k}/unadapted_{name}` for each k.
        support: numbers of support interactions.
        name: of the metric, such as `recall@10`.
    """
    from matplotlib.figure import Figure

    ks = sorted(support)
    before, after = ([float(metrics[f"val_support_{k}/{kind}{name}"]) for k in ks] for kind in ("unadapted_", ""))
    figure = Figure(figsize=(8, 5), layout="constrained")
    chart = figure.subplots()
    at = range(len(ks))  # evenly: most of them are small
    chart.plot(at, after, marker="o", label="adapted")
    chart.plot(at, before, marker="o", linestyle="--", label="unadapted")
    chart.fill_between(at, before, after, alpha=0.15)
    for place, old, new in zip(at, before, after, strict=True):
        chart.annotate(
            f"{new - old:+.3f}", (place, max(old, new)), xytext=(0, 6), textcoords="offset points", ha="center"
        )
    chart.set(xlabel="support interactions", ylabel=name, xticks=at, xticklabels=[str(k) for k in ks])
    chart.set_title(f"{name} of held-out users, and the gain of adaptation", fontsize="medium")
    chart.margins(y=0.15)
    chart.grid(alpha=0.3)
    chart.legend()
    return figure
