"""What a run shows in TensorBoard, and in a CSV logger."""

from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import tensor

from recall_lightning import ItemTower, MovieLens, RecallDataModule, RecallLoss, RecallModule, TransformerTower
from recall_lightning.callbacks import default_callbacks
from recall_lightning.callbacks.samples import _escaped
from recall_lightning.callbacks.threshold import draw
from recall_lightning.metrics import RecallPrecisionAtThreshold
from recall_lightning.modules.encoder_config import EncoderConfig


def fit(logger, movielens, tiny_encoder, folder):
    module = RecallModule(
        EncoderConfig(str(tiny_encoder)), TransformerTower(1, 2), ItemTower(16), RecallLoss(learn_temperature=True)
    )
    data = RecallDataModule(
        MovieLens(str(movielens)), "{title}", str(tiny_encoder), batch_size=8, max_encoded_items=16, max_history=10
    )
    trainer = L.Trainer(
        max_epochs=2, limit_train_batches=4, limit_val_batches=1, logger=logger, accelerator="cpu",
        log_every_n_steps=2, callbacks=default_callbacks(), enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return trainer


@pytest.fixture(scope="module")
def events(movielens, tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    trainer = fit(TensorBoardLogger(folder, default_hp_metric=False), movielens, tiny_encoder, folder)
    shown = EventAccumulator(trainer.log_dir)
    shown.Reload()
    return trainer, shown


def test_losses_rates_and_metrics_are_curves(events):
    _, shown = events
    curves = set(shown.Tags()["scalars"])
    assert curves >= {
        "train/loss", "train/nll", "train/penalty", "train/temperature", "lr/encoder", "lr/towers",
        "speed/items_per_second", "speed/tokens_per_second", "speed/users_per_second",
        "speed/data_wait_share",
        *(f"val/{name}@{k}" for name in ("recall", "precision", "ndcg", "mrr", "hit_rate") for k in (10, 50)),
    }  # fmt: skip
    assert [event.step for event in shown.Scalars("speed/tokens_per_second")] == [2, 4, 6, 8]
    assert all(event.value > 0 for event in shown.Scalars("speed/tokens_per_second"))


def test_similarities_of_positives_and_negatives_are_histograms(events):
    _, shown = events
    assert set(shown.Tags()["histograms"]) == {"similarity/positives", "similarity/negatives"}
    for name in ("similarity/positives", "similarity/negatives"):
        histogram = shown.Histograms(name)[-1].histogram_value
        assert -1.001 <= histogram.min < histogram.max <= 1.001
    negatives = shown.Histograms("similarity/negatives")[-1].histogram_value.num
    assert negatives == pytest.approx(20 * shown.Histograms("similarity/positives")[-1].histogram_value.num, rel=0.05)


def test_the_lists_of_some_users_are_texts_with_what_they_took(events):
    trainer, shown = events
    pages = [tag for tag in shown.Tags()["tensors"] if tag.startswith("user ")]
    assert len(pages) == 5
    text = shown.Tensors(pages[0])[-1].tensor_proto.string_val[0].decode()
    user = pages[0].removeprefix("user ").split("/")[0]
    data = trainer.datamodule
    row = data.interactions.user_ids.index(user)
    took = data.catalogue.titles[data.interactions.history(row)[-2]]
    assert f"**Took next**: {took}" in text
    assert "10. " in text


def test_the_item_space_has_a_title_for_each_vector(events):
    trainer, _ = events
    metadata = next(Path(trainer.log_dir).rglob("metadata.tsv")).read_text(encoding="utf-8").splitlines()
    vectors = next(Path(trainer.log_dir).rglob("tensors.tsv")).read_text().splitlines()
    assert metadata[0] == "title\tinteractions"
    assert len(metadata) - 1 == len(vectors) == 1682
    assert metadata[1].startswith("Star Wars\t")
    assert len(vectors[0].split("\t")) == 16


def test_titles_are_shown_as_they_are():
    assert _escaped("M*A*S*H [1970]\n_x_") == r"M\*A\*S\*H \[1970\] \_x\_"


def test_each_metric_has_a_chart_with_all_its_cutoffs(events):
    _, shown = events
    layout = shown.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert all(tag in layout for tag in (b"ndcg by k", b"val/ndcg@10", b"val/ndcg@50"))


def test_the_threshold_is_a_picture_at_each_validation_and_curves_over_the_run(events):
    _, shown = events
    assert [event.step for event in shown.Images("threshold")] == [4, 8]
    assert (shown.Images("threshold")[0].width, shown.Images("threshold")[0].height) == (800, 600)
    for name in ("alpha", "recall@alpha", "precision@alpha", "items@alpha"):
        assert [event.step for event in shown.Scalars(f"val/{name}")] == [3, 7]
    assert all(event.value <= 50 for event in shown.Scalars("val/items@alpha"))


def test_the_threshold_charts_start_where_recall_starts_to_fall_and_mark_the_choice():
    metric = RecallPrecisionAtThreshold()
    metric.update(tensor([[0.75, 0.5, 0.25, -0.5]]), tensor([[0, 1]]))
    curve = metric.compute()
    figure = draw(curve, curve.best(min_precision=0.9), "min_precision 0.9")
    shares, items = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in shares.lines[:3]}
    assert drawn == {
        "recall": [[0.5, 1.0], [0.75, 0.5]],
        "precision": [[0.5, 1.0], [0.75, 1.0]],
        "F1": [[0.5, 1.0], [0.75, pytest.approx(2 / 3)]],
    }
    assert items.lines[0].get_xydata().tolist() == [[0.5, 2.0], [0.75, 1.0]]
    assert shares.lines[3].get_xdata() == items.lines[1].get_xdata() == [0.5, 0.5]
    assert "alpha 0.5000 for min_precision 0.9: recall 1.000, precision 1.000, 2.0 items a user" in shares.get_title()
    unmet = draw(curve, None, "beta 1")
    assert unmet.axes[0].get_title() == "no alpha for beta 1"
    assert len(unmet.axes[0].lines) == 3


def test_hyperparameters_stand_beside_the_best_metrics(events):
    _, shown = events
    assert "_hparams_/session_start_info" in shown.summary_metadata
    content = shown.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"model.optimizer.encoder_lr" in content
    best = max(event.value for event in shown.Scalars("val/recall@10"))
    assert shown.Scalars("best_val/recall@10")[-1].value == pytest.approx(best)
    assert not [name for name in shown.Tags()["scalars"] if name.startswith("best_") and "alpha" in name]


def test_a_csv_logger_by_config_alone_gets_the_same_columns(movielens, tiny_encoder, tmp_path):
    trainer = fit(CSVLogger(tmp_path), movielens, tiny_encoder, tmp_path)
    header = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/nll", "val/recall@10", "lr/encoder", "speed/items_per_second"} <= set(header)
    assert "model.optimizer.encoder_lr" in (tmp_path / "lightning_logs" / "version_0" / "hparams.yaml").read_text()
    assert trainer.logger.name == "lightning_logs"
