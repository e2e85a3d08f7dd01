"""On a GPU the same comes out as on a CPU. Skipped where there is none."""

import lightning as L
import pytest
import setuptools  # noqa: F401  # before torch's compiler does, which fails to under pytest
import torch

from recall_lightning import (
    EpisodeDataModule,
    ItemTower,
    MAMLRecallModule,
    PretrainDataModule,
    PretrainModule,
    RecallDataModule,
    RecallModule,
    Recommender,
    Tabular,
    TextTower,
    TransformerTower,
)
from recall_lightning.baselines.evaluate import rank_cases
from recall_lightning.baselines.sasrec import SASRec
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.data.splits import Splits
from recall_lightning.modules.encoder_config import EncoderConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

STEADY = TransformerTower(1, 2, dropout=0.0)


class Losses(L.Callback):
    def __init__(self):
        self.kept = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.kept.append(float(outputs["loss"]))


@pytest.fixture
def folder(tmp_path):
    """30 users, each of eight items out of 20 that stand in a ring, from another one on."""
    items = "".join(f"i{i},item {'ab' * (i % 5)}{i}\n" for i in range(20))
    (tmp_path / "items.csv").write_text(f"item_id,title\n{items}")
    rows = "".join(f"u{u},i{(u * 3 + t) % 20},{t}\n" for u in range(30) for t in range(8))
    (tmp_path / "interactions.csv").write_text(f"user_id,item_id,timestamp\n{rows}")
    return tmp_path


def data_of(kind, folder, encoder, **settings):
    reader = Tabular(str(folder / "interactions.csv"), str(folder / "items.csv"))
    return kind(reader, "{title}", str(encoder), **({"batch_size": 8} | settings))


def fitted(module, data, folder, accelerator, **settings):
    """Losses of two epochs, and the last validation's metrics."""
    losses = Losses()
    trainer = L.Trainer(
        max_epochs=2, accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
        use_distributed_sampler=False, callbacks=[losses], **settings,
    )  # fmt: skip
    trainer.fit(module, data)
    return torch.tensor(losses.kept), {name: float(value) for name, value in trainer.callback_metrics.items()}, trainer


def assert_alike(on_cpu, on_gpu):
    torch.testing.assert_close(on_gpu[0], on_cpu[0], rtol=2e-3, atol=2e-3)
    assert on_gpu[1].keys() == on_cpu[1].keys()
    for name, value in on_cpu[1].items():
        if not name.startswith("val/alpha"):
            assert on_gpu[1][name] == pytest.approx(value, abs=0.05), name


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        ({"candidates": "batch"}, {"n_negatives": 5}),
        ({"candidates": "catalogue"}, {"max_encoded_items": 6}),
        ({"candidates": "catalogue", "prior": True, "transitions": True, "neighbours": True}, {}),
        ({"candidates": "catalogue", "encoder": {"frozen_layers": -1}, "prior": True}, {"sort_by_length": True}),
        ({"candidates": "batch", "encoder": {"texts_at_once": 4}}, {}),
        ({"candidates": "batch", "encoder": {"compile": True}}, {}),
        ({"candidates": "catalogue"}, {"splits": Splits("new_items", share=0.2)}),
        (
            {"candidates": "batch", "user_tower": TextTower(), "item_tower": ItemTower(16, residual_dropout=0.0)},
            {"history_tokens": 32},
        ),
        ({"candidates": "catalogue"}, {"num_workers": 1}),
    ],
)
def test_a_recall_model_learns_the_same(folder, tiny_encoder, settings, data):
    def run(accelerator):
        torch.manual_seed(0)
        made = {
            "user_tower": STEADY,
            "item_tower": ItemTower(16, residual=True, residual_dropout=0.0, words=2),
        } | settings
        encoder = EncoderConfig(str(tiny_encoder), **({"dropout": 0.0} | made.pop("encoder", {})))
        return fitted(
            RecallModule(encoder, **made), data_of(RecallDataModule, folder, tiny_encoder, **data), folder, accelerator
        )

    assert_alike(run("cpu"), run("gpu"))


def test_a_meta_trained_model_learns_the_same(folder, tiny_encoder):
    def run(accelerator):
        torch.manual_seed(0)
        module = MAMLRecallModule(
            EncoderConfig(str(tiny_encoder), dropout=0.0), user_tower=STEADY,
            item_tower=ItemTower(16, residual_dropout=0.0),  # other draws are made there
            candidates="catalogue", prior=True, transitions=True,
        )  # fmt: skip
        data = data_of(
            EpisodeDataModule, folder, tiny_encoder, splits=Splits("cold_users", k=2, n_queries=2, share=0.2),
            episodes=EpisodeConfig(max_support=3, n_queries=2), eval_support=[1, 3],
        )  # fmt: skip
        return fitted(module, data, folder, accelerator)

    assert_alike(run("cpu"), run("gpu"))


@pytest.mark.parametrize(("mlm", "contrastive"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_an_encoder_is_pretrained_there(folder, tiny_encoder, mlm, contrastive):
    module = PretrainModule(EncoderConfig(str(tiny_encoder)), mlm_weight=mlm, contrastive_weight=contrastive)
    losses, metrics, _ = fitted(module, data_of(PretrainDataModule, folder, tiny_encoder), folder, "gpu")
    assert losses.isfinite().all()
    assert "val/loss" in metrics


def test_half_precision_trains_and_validates(folder, tiny_encoder):
    module = RecallModule(
        EncoderConfig(str(tiny_encoder)), STEADY, ItemTower(16, residual=True, words=2), candidates="catalogue",
        prior=True, transitions=True,
    )  # fmt: skip
    data = data_of(RecallDataModule, folder, tiny_encoder)
    losses, _, _ = fitted(module, data, folder, "gpu", precision="bf16-mixed")
    assert losses.isfinite().all()


def test_a_recommender_gives_the_same_there(folder, tiny_encoder):
    torch.manual_seed(0)
    module = RecallModule(
        EncoderConfig(str(tiny_encoder)), STEADY, ItemTower(16, residual=True, words=2), candidates="catalogue",
        prior=True, transitions=True,
    )  # fmt: skip
    _, _, trainer = fitted(module, data_of(RecallDataModule, folder, tiny_encoder), folder, "gpu")
    trainer.save_checkpoint(folder / "model.ckpt")
    told = {"ann": ["i3", "i4"], "bob": ["i7"], "cy": []}
    here, there = (
        Recommender.from_checkpoint(folder / "model.ckpt", device=device).recommend(told, k=5).table
        for device in ("cpu", "cuda")
    )
    assert here["item_id"].to_pylist() == there["item_id"].to_pylist()
    assert here["score"].to_pylist() == pytest.approx(there["score"].to_pylist(), abs=1e-4)


def test_sasrec_learns_a_ring_there(folder, tiny_encoder):
    data = data_of(RecallDataModule, folder, tiny_encoder)
    data.setup()
    contender = SASRec(max_epochs=30, patience=30, batch_size=8)
    contender.fit(data.split.train, data)
    ranks = rank_cases(contender, data.split.test, data).ranks
    assert float((ranks <= 3).float().mean()) > 0.5
