"""EpochLines: a line an epoch on stderr, where that is no terminal."""

import lightning as L
import pytest

from recall_lightning import ItemTower, MeanTower, RecallDataModule, RecallModule, Tabular
from recall_lightning.callbacks.epochs import EpochLines
from recall_lightning.modules.encoder_config import EncoderConfig


class StopAfterAStep(L.Callback):
    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, *_):
        trainer.save_checkpoint(self.path)
        raise KeyboardInterrupt


def fit(folder, tiny_encoder, *callbacks, **resumed):
    reader = Tabular(str(folder / "interactions.csv"), str(folder / "items.csv"))
    data = RecallDataModule(reader, "{title}", str(tiny_encoder), batch_size=1)
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[EpochLines(), *callbacks],
    )  # fmt: skip
    trainer.fit(RecallModule(EncoderConfig(str(tiny_encoder)), MeanTower(), ItemTower(8)), data, **resumed)


def lines(capsys):
    return [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]


def test_each_epoch_tells_loss_metrics_and_seconds(typed, tiny_encoder, capsys):
    fit(typed, tiny_encoder)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in told] == ["epoch 0", "epoch 1"]
    for part in ("loss ", "val/recall@10 ", "val/ndcg@10 ", " s"):
        assert all(part in line for line in told)


def test_a_run_that_goes_on_inside_an_epoch_tells_of_that_one_too(typed, tiny_encoder, capsys):
    with pytest.raises(SystemExit):
        fit(typed, tiny_encoder, StopAfterAStep(typed / "inside.ckpt"))
    assert lines(capsys) == []
    fit(typed, tiny_encoder, ckpt_path=typed / "inside.ckpt", weights_only=True)
    assert lines(capsys) == ["epoch 0", "epoch 1"]
