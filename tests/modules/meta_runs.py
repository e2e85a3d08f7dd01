"""What tests of MAMLRecallModule share: a slice of MovieLens-100K, modules and Trainers for it."""

import lightning as L
import torch

from recall_lightning import (
    ItemTower,
    MovieLens,
    TransformerTower,
)
from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.data.splits import Splits
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.optimizers import OptimizerConfig

COLD = Splits("cold_users", k=2, n_queries=3)


def data_module(movielens, encoder, kind=EpisodeDataModule, **changes):
    """943 users and the 118 films that more than 200 of them rated."""
    settings = {
        "splits": COLD, "min_users": 200, "catalogue_items": "interacted", "max_history": 8, "max_text_tokens": 16,
        "batch_size": 32, "max_encoded_items": 16, "ties": "shuffle",
    }  # fmt: skip
    if kind is EpisodeDataModule:
        settings |= {"episodes": EpisodeConfig(max_support=4, n_queries=3), "eval_support": [1, 4]}
    return kind(MovieLens(str(movielens)), "{title}", str(encoder), **(settings | changes))


def maml(folder, **changes):
    settings = {"optimizer": OptimizerConfig(encoder_lr=1e-3, tower_lr=1e-2, warmup=0.0, decay="none")} | changes
    if "init_from" not in settings:
        settings = {"user_tower": TransformerTower(1, 2, dropout=0.2), "item_tower": ItemTower(16)} | settings
    return MAMLRecallModule(EncoderConfig(str(folder), **settings.pop("encoder", {})), **settings)


def trainer(tmp_path, **changes):
    settings = {
        "max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1, "logger": False, "accelerator": "cpu",
        "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False,
        "num_sanity_val_steps": 0, "gradient_clip_val": 1.0, "use_distributed_sampler": False,
        "default_root_dir": tmp_path,
    } | changes  # fmt: skip
    return L.Trainer(**settings)


def attached(module, data, tmp_path):
    """A module that was set up to be fitted, as the Trainer does it."""
    data.setup()
    run = trainer(tmp_path)
    run.datamodule = data
    module.trainer = run
    module.setup("fit")
    return module


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not one[name].equal(other[name])]


class Losses(L.Callback):
    """Keeps what `training_step` gives to callbacks."""

    def on_fit_start(self, trainer, module):
        self.losses, self.support, self.query = [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.support.append(outputs["support_losses"].tolist())
        self.query.append(outputs["query_losses"].tolist())
