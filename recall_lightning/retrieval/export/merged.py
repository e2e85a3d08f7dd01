"""A model's encoder as other programs can have it: no adapters, on the CPU."""

from copy import deepcopy

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.lora import merge_adapters
from recall_lightning.retrieval.recommender import Recommender


def merged_encoder(recommender: Recommender) -> TextEncoder:
    """A copy of the encoder, its adapters merged into its weights; the recommender's stays as it is."""
    encoder = deepcopy(recommender.module.model.encoder).cpu().eval()
    merge_adapters(encoder.model)
    return encoder
