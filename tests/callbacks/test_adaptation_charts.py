"""What a meta-training shows in TensorBoard, and in a CSV logger."""

import logging
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import tensor

from recall_lightning import ItemTower, RecallDataModule, RecallModule, Tabular, TransformerTower
from recall_lightning.callbacks import default_callbacks
from recall_lightning.callbacks.adaptation import AdaptationCharts, draw
from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.data.splits import Splits
from recall_lightning.meta.fast_weights import LinearHead, UserVector, WholeTower
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.inner_loop_config import InnerLoopConfig
from recall_lightning.modules.maml import MAMLRecallModule

ITEMS = ["alien", "brazil", "casino", "dune", "fargo", "gattaca", "heat", "jaws", "memento", "psycho", "solaris", "up"]
KS, SUPPORT, STEPS = [2, 4], [1, 3], 2


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """24 users, each with eight of twelve items."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [f"user{u},{ITEMS[(u * 5 + n) % 12]},{n}\n" for u in range(24) for n in range(8)]
    (folder / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{item},{item}\n" for item in ITEMS))
    return Tabular(str(folder / "ratings.csv"), str(folder / "items.csv"))


def meta(tables, encoder, *, fast_weights=None, encoder_settings=None, **inner_loop):
    module = MAMLRecallModule(
        EncoderConfig(str(encoder), **(encoder_settings or {})), fast_weights=fast_weights or UserVector(),
        user_tower=TransformerTower(1, 2), item_tower=ItemTower(8), ks=KS,
        inner_loop=InnerLoopConfig(**({"steps": STEPS, "learned_rates": "element"} | inner_loop)),
    )  # fmt: skip
    data = EpisodeDataModule(
        tables, "{title}", str(encoder), Splits("cold_users", share=0.2), EpisodeConfig(max_support=3, n_queries=2),
        SUPPORT, batch_size=4,
    )  # fmt: skip
    return module, data


def fit(module, data, logger, folder, *callbacks, **changes):
    settings = {"gradient_clip_val": 1e-3, "max_epochs": 2, "limit_train_batches": 3} | changes
    trainer = L.Trainer(
        logger=logger, accelerator="cpu", log_every_n_steps=2, callbacks=[*default_callbacks(), *callbacks],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=folder, use_distributed_sampler=False, **settings,
    )  # fmt: skip
    trainer.fit(module, data)
    return trainer


def read(trainer):
    """All that a run's event files show."""
    shown = EventAccumulator(trainer.log_dir, size_guidance={"histograms": 0, "images": 0})
    shown.Reload()
    return shown


class Outputs(L.Callback):
    """Keeps what each training step gives, and the norms of its gradients once they are clipped."""

    def on_fit_start(self, trainer, module):
        self.support, self.query, self.clipped = [], [], []

    def on_before_zero_grad(self, trainer, module, optimizer):
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        if gradients:
            self.clipped.append(float(torch.nn.utils.get_total_norm(gradients)))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.support.append(outputs["support_losses"].tolist())
        self.query.append(outputs["query_losses"].tolist())


@pytest.fixture(scope="module")
def events(tables, tiny_encoder, tmp_path_factory):
    folder, outputs = tmp_path_factory.mktemp("runs"), Outputs()
    trainer = fit(
        *meta(tables, tiny_encoder), TensorBoardLogger(folder, default_hp_metric=False), folder, outputs
    )  # fmt: skip
    return trainer, read(trainer), outputs


def test_losses_by_inner_step_are_curves_of_what_training_gave(events):
    _, shown, outputs = events
    assert len(outputs.support) == 6
    for curve, of_steps, first in [("support_loss", outputs.support, 0), ("query_loss", outputs.query, 1)]:
        names = {name for name in shown.Tags()["scalars"] if name.startswith(curve)}
        assert names == {f"{curve}/step_{step}" for step in range(first, STEPS + 1)}
        for step in range(first, STEPS + 1):
            drawn = [(event.step, event.value) for event in shown.Scalars(f"{curve}/step_{step}")]
            assert drawn == [(n, pytest.approx(of_steps[n - 1][step - first])) for n in (2, 4, 6)]


def test_a_query_loss_behind_the_last_step_alone_is_one_curve(tables, tiny_encoder, tmp_path):
    columns = header(tables, tiny_encoder, tmp_path, query_loss="last")
    assert {name for name in columns if name.startswith("query_loss")} == {f"query_loss/step_{STEPS}"}


def test_step_sizes_are_curves_of_their_means_and_by_element_histograms(events):
    trainer, shown, _ = events
    rates = trainer.lightning_module.rates
    assert {name for name in shown.Tags()["scalars"] if name.startswith("step_sizes")} == {
        "step_sizes/values/step_1", "step_sizes/values/step_2"
    }  # fmt: skip
    for step in (1, 2):
        (values,) = rates.at(step - 1).values()
        curve = shown.Scalars(f"step_sizes/values/step_{step}")
        assert [event.step for event in curve] == [2, 4, 6]
        assert curve[-1].value == pytest.approx(float(values.mean()))
        assert curve[0].value != 1.0
        histogram = shown.Histograms(f"step_sizes/values/step_{step}")
        assert [event.step for event in histogram] == [3, 6]
        last = histogram[-1].histogram_value
        assert (last.num, last.min, last.max) == (
            8,
            pytest.approx(float(values.min())),
            pytest.approx(float(values.max())),
        )


def header(tables, encoder, folder, **settings):
    """Columns of a CSV logger after two steps."""
    fit(*meta(tables, encoder, **settings), CSVLogger(folder), folder, max_epochs=1, limit_train_batches=2)
    lines = (folder / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()
    return set(lines[0].split(","))


@pytest.mark.parametrize(
    ("settings", "curves"),
    [
        ({"learned_rates": "no"}, set()),
        ({"learned_rates": "tensor", "per_step": False}, {"step_sizes/values"}),
        (
            {"fast_weights": LinearHead(), "learned_rates": "tensor"},
            {f"step_sizes/{name}/step_{step}" for name in ("weight", "bias") for step in (1, 2)},
        ),
    ],
)
def test_only_step_sizes_that_are_learned_are_shown(tables, tiny_encoder, tmp_path, settings, curves):
    columns = header(tables, tiny_encoder, tmp_path, **settings)
    assert {name for name in columns if name.startswith("step_sizes")} == curves
    assert ("gradient_norm/step_sizes" in columns) == bool(curves)


def test_gradient_norms_are_those_before_clipping(events):
    _, shown, outputs = events
    parts = ("encoder", "towers", "fast_weights", "step_sizes")
    assert {name for name in shown.Tags()["scalars"] if name.startswith("gradient_norm")} == {
        f"gradient_norm/{part}" for part in parts
    }
    norms = {part: [event.value for event in shown.Scalars(f"gradient_norm/{part}")] for part in parts}
    assert all(len(values) == 3 and min(values) > 0 for values in norms.values())
    whole = [math.hypot(*(norms[part][n] for part in parts)) for n in range(3)]
    assert min(whole) > 0.1
    assert len(outputs.clipped) > 3
    assert all(norm == pytest.approx(1e-3, rel=1e-2) for norm in outputs.clipped)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"encoder_settings": {"frozen_layers": -1}}, {"towers", "fast_weights", "step_sizes"}),
        ({"fast_weights": WholeTower()}, {"encoder", "towers", "fast_weights", "step_sizes"}),
    ],
)
def test_a_part_without_gradient_has_no_norm(tables, tiny_encoder, tmp_path, settings, parts):
    columns = header(tables, tiny_encoder, tmp_path, **settings)
    assert {name for name in columns if name.startswith("gradient_norm")} == {f"gradient_norm/{p}" for p in parts}


def test_metrics_by_support_are_curves_each_logged_once_a_validation(events):
    _, shown, _ = events
    for k in SUPPORT:
        for kind in ("", "unadapted_", "gain_"):
            assert [event.step for event in shown.Scalars(f"val_support_{k}/{kind}recall@2")] == [2, 5]
    assert not [name for name in shown.Tags()["scalars"] if "dataloader_idx" in name]


def test_the_users_shown_as_texts_are_told_of_by_the_most_interactions(events):
    _, shown, _ = events
    pages = [tag for tag in shown.Tags()["tensors"] if tag.startswith("user ")]
    assert pages
    for page in pages:
        text = shown.Tensors(page)[-1].tensor_proto.string_val[0].decode()
        assert text.startswith("**History**, newest first (3 items)")


def test_curves_that_are_read_together_share_a_chart(events):
    _, shown, _ = events
    layout = shown.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    for chart in (b"recall by k", b"recall by support", b"gain by support", b"support loss by step", b"query loss by"):
        assert chart in layout
    for tag in ("val/recall@4$", "val_support_1/recall@2$", "val_support_3/gain_recall@2$", "support_loss/step_0$"):
        assert tag.encode() in layout
    curves = set(shown.Tags()["scalars"])
    assert {f"val_support_{k}/gain_recall@2" for k in SUPPORT} | {"query_loss/step_1", "query_loss/step_2"} < curves
    assert b"query_loss/step_0" not in layout


def test_the_gain_is_a_picture_at_each_validation(events):
    _, shown, _ = events
    pictures = shown.Images("adaptation")
    assert [(picture.step, picture.width, picture.height) for picture in pictures] == [(3, 800, 500), (6, 800, 500)]


def test_the_picture_shows_recall_before_and_after_by_support_and_the_gain():
    metrics = {"val_support_1/recall@2": 0.25, "val_support_1/unadapted_recall@2": 0.125,
               "val_support_10/recall@2": 0.5, "val_support_10/unadapted_recall@2": 0.625}  # fmt: skip
    figure = draw({name: tensor(value) for name, value in metrics.items()}, [10, 1], "recall@2")
    (chart,) = figure.axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in chart.lines}
    assert drawn == {"adapted": [0.25, 0.5], "unadapted": [0.125, 0.625]}
    assert [text.get_text() for text in chart.texts] == ["+0.125", "-0.125"]
    assert [label.get_text() for label in chart.get_xticklabels()] == ["1", "10"]


def test_without_matplotlib_there_is_no_picture_and_a_line_says_so(tables, tiny_encoder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, logger="recall_lightning"):
        trainer = fit(*meta(tables, tiny_encoder), TensorBoardLogger(tmp_path), tmp_path, max_epochs=1)
    assert (
        "no page of the adaptation, which needs matplotlib: pip install 'recall-lightning[compare]'" in caplog.messages
    )
    shown = read(trainer)
    assert not shown.Tags()["images"]
    assert "val_support_1/gain_recall@2" in shown.Tags()["scalars"]


def test_the_other_pages_show_adapted_users_too(events):
    trainer, shown, _ = events
    assert {"lr/fast-weights-undecayed", "lr/step-sizes-undecayed", "speed/users_per_second"} < set(
        shown.Tags()["scalars"]
    )
    assert {"similarity/positives", "similarity/negatives"} < set(shown.Tags()["histograms"])
    assert shown.Images("threshold")
    texts = [tag for tag in shown.Tags()["tensors"] if tag.startswith("user ")]
    page = shown.Tensors(texts[0])[-1].tensor_proto.string_val[0].decode()
    assert page.startswith("**History**, newest first (3 items)")  # the most support interactions that are asked about
    assert shown.Scalars("best_val/recall@2")
    report, *_ = trainer.test(trainer.lightning_module, trainer.datamodule, verbose=False)
    assert {"test/recall@2", "test_support_3/gain_recall@2"} < report.keys()


def test_a_module_that_does_not_adapt_shows_none_of_it(tables, tiny_encoder, tmp_path):
    recall = RecallModule(EncoderConfig(str(tiny_encoder)), TransformerTower(1, 2), ItemTower(8), ks=KS)
    trainer = fit(
        recall, RecallDataModule(tables, "{title}", str(tiny_encoder)), TensorBoardLogger(tmp_path), tmp_path
    )  # fmt: skip
    assert any(isinstance(callback, AdaptationCharts) for callback in trainer.callbacks)
    shown = read(trainer)
    begin = ("support_loss", "query_loss", "step_sizes", "gradient_norm", "val_support")
    assert not [name for name in shown.Tags()["scalars"] if name.startswith(begin)]
    assert "adaptation" not in shown.Tags()["images"]
    assert b"by support" not in shown.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
