"""A model's encoder as other programs can have it: no adapters, no attention of ours, on the CPU."""

from copy import deepcopy

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.lora import merge_adapters


def merged_encoder(encoder: TextEncoder) -> TextEncoder:
    """A copy of an encoder, its adapters merged into its weights; the encoder itself stays as it is.

    It pads texts, as graphs and other programs do, where the encoder packs them.
    """
    merged = deepcopy(encoder).cpu().eval()
    merge_adapters(merged.model)
    if merged.packs:
        merged.model.set_attn_implementation("sdpa")
    return merged
