"""Services of small checkpoints, and clients of them."""

from contextlib import contextmanager

import lightning as L
import pytest
import torch
from fastapi.testclient import TestClient

from recall_lightning import ItemTower, Recommender, Tabular, TransformerTower
from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.data.splits import Splits
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.serving.app import application
from recall_lightning.serving.limits import Limits
from recall_lightning.serving.service import Service


@pytest.fixture(scope="session")
def checkpoint(train_typed, tmp_path_factory):
    return train_typed(tmp_path_factory.mktemp("served"))[1]


@pytest.fixture(scope="session")
def meta_checkpoint(tiny_encoder, write_typed, tmp_path_factory):
    """A meta-trained one, of users enough to be cold."""
    folder, items = write_typed(tmp_path_factory.mktemp("meta")), ["heat", "alien", "brazil", "fargo", "007"]
    rows = [f"u{user},{items[(user * 3 + step) % 5]},{step}" for user in range(40) for step in range(4)]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    torch.manual_seed(0)
    data = EpisodeDataModule(
        Tabular(str(folder / "interactions.csv"), str(folder / "items.csv")), "{title} ({year}). {genres}",
        str(tiny_encoder), Splits(name="cold_users", share=0.2, k=1), EpisodeConfig(max_support=3), [1, 2], 8,
        max_history=3, cache_dir=str(folder / "cache"),
    )  # fmt: skip
    module = MAMLRecallModule(
        EncoderConfig(str(tiny_encoder)), user_tower=TransformerTower(1, 2), item_tower=ItemTower(residual=True)
    )
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "meta.ckpt")
    return folder / "meta.ckpt"


@pytest.fixture
def recommender(checkpoint):
    return Recommender.from_checkpoint(checkpoint, device="cpu")


@contextmanager
def client_of(recommender, *, read_only=False, limits=None, **settings):
    service = Service(recommender, limits or Limits(), **settings)
    # what a request makes fail is to be answered with status 500, as it would be over a network
    with TestClient(application(service, "model.ckpt", read_only=read_only), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(recommender):
    with client_of(recommender, wait_s=0) as client:
        yield client
