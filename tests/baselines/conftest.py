"""Histories typed as lists of catalogue rows, and the typed tables as data."""

from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch

from recall_lightning import RecallDataModule, Tabular
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import offsets_of, pad


@pytest.fixture(scope="session")
def typed_train():
    """`[[0, 1], [2]]` as the training interactions of two users; times by interaction, where given."""

    def make(histories, times=None):
        items = np.array([item for history in histories for item in history], np.int64)
        offsets = offsets_of(np.array([len(history) for history in histories], np.int64))
        users = [str(user) for user in range(len(histories))]
        return Interactions(users, items, None if times is None else np.array(times), offsets)

    return make


@pytest.fixture(scope="session")
def fitted(typed_train):
    """A contender, fitted on typed histories; all that it may see of the data is the catalogue."""

    def fit(contender, histories, n_items, times=None, texts=None):
        catalogue = Catalogue([str(row) for row in range(n_items)], texts or [""] * n_items, [""] * n_items, "")
        contender.fit(typed_train(histories, times), SimpleNamespace(catalogue=catalogue))
        return contender

    return fit


@pytest.fixture(scope="session")
def ask():
    """Scores for typed histories; the users are the first ones of the training, unless told."""

    def score(contender, histories, users=None):
        lengths = np.array([len(history) for history in histories])
        flat = np.array([item for history in histories for item in history], np.int64)
        history = torch.from_numpy(pad(flat, lengths, fill=-1, left=True))
        rows = torch.arange(len(histories)) if users is None else torch.tensor(users)
        return contender.score(EvalBatch(rows, history, history[:, :0], history[:, :0])).detach().numpy()

    return score


@pytest.fixture
def fit_once(tmp_path):
    """Trains a module for an epoch: the trainer, and the path of the checkpoint."""

    def fit(module, data):
        trainer = L.Trainer(
            max_epochs=1, logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, data)
        trainer.save_checkpoint(tmp_path / "made.ckpt")
        return trainer, str(tmp_path / "made.ckpt")

    return fit


@pytest.fixture
def typed_data(typed, tiny_encoder, tmp_path):
    """The whole way from two typed tables to a data module."""
    made = RecallDataModule(
        Tabular(str(typed / "interactions.csv"), str(typed / "items.csv")), "{title}. {genres}", str(tiny_encoder),
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    made.setup()
    return made
