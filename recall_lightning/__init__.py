"""Fine-tunes BERT-family encoders to recall items, from item text and user histories.

The public names are imported when they are first used: `recall-lightning --help` answers before torch is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recall_lightning.data.datamodule import RecallDataModule as RecallDataModule
    from recall_lightning.data.episode_datamodule import EpisodeDataModule as EpisodeDataModule
    from recall_lightning.data.episodes import EpisodeConfig as EpisodeConfig
    from recall_lightning.data.pretrain_datamodule import PretrainDataModule as PretrainDataModule
    from recall_lightning.data.readers.amazon import AmazonReviews as AmazonReviews
    from recall_lightning.data.readers.bookcrossing import BookCrossing as BookCrossing
    from recall_lightning.data.readers.histories import JsonHistories as JsonHistories
    from recall_lightning.data.readers.movielens import MovieLens as MovieLens
    from recall_lightning.data.readers.recbole import RecBole as RecBole
    from recall_lightning.data.readers.tabular import Tabular as Tabular
    from recall_lightning.data.splits import Splits as Splits
    from recall_lightning.errors import InputError as InputError
    from recall_lightning.losses import BinaryRecallLoss as BinaryRecallLoss
    from recall_lightning.losses import RecallLoss as RecallLoss
    from recall_lightning.meta.fast_weights import LinearHead as LinearHead
    from recall_lightning.meta.fast_weights import UserVector as UserVector
    from recall_lightning.meta.fast_weights import WholeTower as WholeTower
    from recall_lightning.models.item_tower import ItemTower as ItemTower
    from recall_lightning.models.similarity import Cosine as Cosine
    from recall_lightning.models.similarity import Dot as Dot
    from recall_lightning.models.similarity import Euclidean as Euclidean
    from recall_lightning.models.user_tower import AttentionTower as AttentionTower
    from recall_lightning.models.user_tower import MeanTower as MeanTower
    from recall_lightning.models.user_tower import TextTower as TextTower
    from recall_lightning.models.user_tower import TransformerTower as TransformerTower
    from recall_lightning.modules.encoder_config import EncoderConfig as EncoderConfig
    from recall_lightning.modules.inner_loop_config import InnerLoopConfig as InnerLoopConfig
    from recall_lightning.modules.maml import MAMLRecallModule as MAMLRecallModule
    from recall_lightning.modules.optimizers import OptimizerConfig as OptimizerConfig
    from recall_lightning.modules.pretrain import PretrainModule as PretrainModule
    from recall_lightning.modules.recall import RecallModule as RecallModule
    from recall_lightning.modules.threshold import ThresholdConfig as ThresholdConfig
    from recall_lightning.regularizers import L2 as L2
    from recall_lightning.regularizers import L2SP as L2SP
    from recall_lightning.regularizers import Uniformity as Uniformity
    from recall_lightning.retrieval.attributes import Attributes as Attributes
    from recall_lightning.retrieval.rails import Rails as Rails
    from recall_lightning.retrieval.recommender import Recommender as Recommender

_HOMES = {
    "RecallDataModule": "data.datamodule",
    "EpisodeDataModule": "data.episode_datamodule",
    "PretrainDataModule": "data.pretrain_datamodule",
    "AmazonReviews": "data.readers.amazon",
    "BookCrossing": "data.readers.bookcrossing",
    "JsonHistories": "data.readers.histories",
    "MovieLens": "data.readers.movielens",
    "RecBole": "data.readers.recbole",
    "Tabular": "data.readers.tabular",
    "Splits": "data.splits",
    "EpisodeConfig": "data.episodes",
    "InputError": "errors",
    "BinaryRecallLoss": "losses",
    "RecallLoss": "losses",
    "LinearHead": "meta.fast_weights",
    "UserVector": "meta.fast_weights",
    "WholeTower": "meta.fast_weights",
    "ItemTower": "models.item_tower",
    "Cosine": "models.similarity",
    "Dot": "models.similarity",
    "Euclidean": "models.similarity",
    "AttentionTower": "models.user_tower",
    "MeanTower": "models.user_tower",
    "TextTower": "models.user_tower",
    "TransformerTower": "models.user_tower",
    "EncoderConfig": "modules.encoder_config",
    "InnerLoopConfig": "modules.inner_loop_config",
    "OptimizerConfig": "modules.optimizers",
    "ThresholdConfig": "modules.threshold",
    "MAMLRecallModule": "modules.maml",
    "PretrainModule": "modules.pretrain",
    "RecallModule": "modules.recall",
    "L2": "regularizers",
    "L2SP": "regularizers",
    "Uniformity": "regularizers",
    "Attributes": "retrieval.attributes",
    "Rails": "retrieval.rails",
    "Recommender": "retrieval.recommender",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
