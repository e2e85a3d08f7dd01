"""FinalMetrics: hyperparameters beside what they led to."""

from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from recall_lightning.modules.base import BaseModule


class FinalMetrics(Callback):
    """Logs the hyperparameters, and with TensorBoard the best value of each validation metric beside them.

    Args:
        best: `max` of metrics, `min` of losses.
    """

    def __init__(self, best: Callable[[float, float], float] = max) -> None:
        self.better = best
        self.best: dict[str, float] = {}

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for name, value in trainer.callback_metrics.items():
            # what alpha gives is held to a constraint: more of it isn't better
            if name.startswith("val/") and not name.endswith("alpha"):
                self.best[name] = self.better(self.best.get(name, float(value)), float(value))

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):  # which wants the metrics with them, in one entry
                logger.log_hyperparams(settings_of(module))

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and self.best:
                metrics = {f"best_{name}": value for name, value in self.best.items()}
                logger.log_hyperparams(settings_of(module), metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


def settings_of(module: L.LightningModule) -> dict[str, Any]:
    """The settings of a run, by key."""
    assert isinstance(module, BaseModule)
    return flat({"model": dict(module.hparams), "data": dict(module.data.hparams)})


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as `model.loss.temperature: value`."""
    if not isinstance(settings, dict):
        return {prefix: settings if isinstance(settings, (bool, int, float, str)) else str(settings)}
    parts: dict[str, Any] = {}
    for name, value in settings.items():
        parts |= flat(value, prefix if name == "init_args" else f"{prefix}.{name}".lstrip("."))
    return parts
