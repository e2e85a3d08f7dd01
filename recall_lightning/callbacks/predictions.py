"""RecommendationWriter: what `predict` gives, as a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import BasePredictionWriter

from recall_lightning.modules.recall import RecallModule
from recall_lightning.retrieval.recommendations import table_of, write


class RecommendationWriter(BasePredictionWriter):
    """Writes `recommendations.csv` into the run's folder; of several processes, each writes its share of the users."""

    def __init__(self) -> None:
        super().__init__("epoch")

    def write_on_epoch_end(
        self, trainer: L.Trainer, module: L.LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        assert isinstance(module, RecallModule)
        share = "" if trainer.world_size == 1 else f"-{trainer.global_rank}"
        path = Path(trainer.log_dir or trainer.default_root_dir) / f"recommendations{share}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = module.data
        write(
            (
                table_of([data.interactions.user_ids[u] for u in users.tolist()], data.catalogue.ids, rows, scores)
                for users, rows, scores in (
                    (u.cpu(), np.asarray(r.cpu()), np.asarray(s.float().cpu())) for u, r, s in predictions
                )
            ),
            path,
        )
        print(f"recommendations written to {path}")
