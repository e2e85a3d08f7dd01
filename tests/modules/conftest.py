"""Checkpoints that several tests of modules start from."""

import pytest
from meta_runs import data_module, maml, trainer

from recall_lightning import (
    ItemTower,
    RecallDataModule,
    RecallLoss,
    RecallModule,
    TransformerTower,
)
from recall_lightning.modules.encoder_config import EncoderConfig


@pytest.fixture(scope="module")
def start(movielens, tiny_encoder, tmp_path_factory):
    """The checkpoint of a RecallModule that saw three batches of the same training part."""
    folder = tmp_path_factory.mktemp("start")
    recall = RecallModule(
        EncoderConfig(str(tiny_encoder)), TransformerTower(1, 2, dropout=0.2), ItemTower(16, residual=True),
        RecallLoss(temperature=0.1),
    )  # fmt: skip
    run = trainer(folder)
    run.fit(recall, data_module(movielens, tiny_encoder, RecallDataModule))
    run.save_checkpoint(folder / "start.ckpt")
    return folder / "start.ckpt"


@pytest.fixture(scope="module")
def trained(movielens, tiny_encoder, start, tmp_path_factory):
    """A meta-trained checkpoint, and its metrics in validation."""
    folder = tmp_path_factory.mktemp("trained")
    run, meta = trainer(folder, limit_val_batches=1.0), maml(tiny_encoder, init_from=str(start))
    run.fit(meta, data_module(movielens, tiny_encoder))
    run.save_checkpoint(folder / "meta.ckpt")
    return folder / "meta.ckpt", {name: float(value) for name, value in run.callback_metrics.items()}, meta
