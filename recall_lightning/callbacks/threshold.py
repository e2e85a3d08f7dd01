"""ThresholdCharts: recall, precision, F1 and items a user over the threshold alpha."""

import importlib.util
import logging
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.callbacks import Callback

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.metrics import ThresholdCurve, ThresholdPoint
from recall_lightning.modules.recall import RecallModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure


log = logging.getLogger(__name__)


class ThresholdCharts(Callback):
    """Draws a page *threshold* in TensorBoard's *Images* at each validation, the chosen alpha marked.

    Without matplotlib it draws nothing, and says so once.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.able = importlib.util.find_spec("matplotlib") is not None
        if not self.able and writer_of(trainer) is not None:
            log.info("no page of the threshold, which needs matplotlib: pip install 'recall-lightning[compare]'")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, RecallModule)
        writer, curve = writer_of(trainer), module.threshold.curve
        if self.able and writer is not None and curve is not None and len(curve.alpha) and not trainer.sanity_checking:
            ((name, value),) = module.threshold.config.constraint.items()
            figure = draw(curve, module.threshold.point, f"{name} {value:g}")
            writer.add_figure("threshold", figure, trainer.global_step)


def draw(curve: ThresholdCurve, point: ThresholdPoint | None, constraint: str) -> "Figure":
    """The curve as two charts, shares above and items a user below, from where recall starts to fall.

    Args:
        curve: with at least one threshold.
        point: the chosen threshold, None if there is none.
        constraint: what it was chosen by, for the title.
    """
    from matplotlib.figure import Figure

    start = int((curve.hits == curve.hits[0]).sum()) - 1  # below, only precision changes, and that hardly
    figure = Figure(figsize=(8, 6), layout="constrained")
    shares, items = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for name, values in [("recall", curve.recall), ("precision", curve.precision), ("F1", curve.f_beta(1))]:
        shares.plot(curve.alpha[start:].numpy(), values[start:].numpy(), label=name, drawstyle="steps-pre")
    items.plot(curve.alpha[start:].numpy(), curve.items_per_user[start:].numpy(), drawstyle="steps-pre")
    shares.set(ylim=(0, 1.02), ylabel="share of pairs")
    items.set(yscale="log", ylabel="items a user", xlabel="alpha: recalled is what scores this or more")
    title = f"no alpha for {constraint}"
    if point is not None:
        title = (
            f"alpha {point.alpha:.4f} for {constraint}: recall {point.recall:.3f}, precision {point.precision:.3f}, "
            f"{point.items_per_user:.1f} items a user"
        )
        for chart in (shares, items):
            chart.axvline(point.alpha, color="black", linestyle=":")
    shares.set_title(title, fontsize="medium")
    for chart in (shares, items):
        chart.grid(alpha=0.3)
    shares.legend()
    return figure
