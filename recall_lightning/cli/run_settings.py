"""SaveRunConfig: the settings of a run, in its folder."""

from pathlib import Path

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from recall_lightning.callbacks.hyperparameters import settings_of
from recall_lightning.whole import written_whole


class SaveRunConfig(SaveConfigCallback):
    """Keeps a run's settings, written whole, in the run's folder, and where there is none (no logger), nowhere."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.already_saved or not trainer.loggers:
            return
        folder = trainer.log_dir  # on every process: they agree on it
        if trainer.is_global_zero and folder:
            with written_whole(Path(folder) / self.config_filename) as file:
                file.write(self.parser.dump(self.config, skip_none=False).encode())
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):  # which would write the file in place, were it not there
                    with written_whole(Path(logger.log_dir) / logger.NAME_HPARAMS_FILE) as file:
                        file.write(yaml.safe_dump(settings_of(pl_module)).encode())
        self.already_saved = True
