"""Warm start: training that goes on from the weights of a `RecallModule`'s checkpoint, of the same data or of other."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedModel

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.errors import InputError
from recall_lightning.models.lora import merge_adapters
from recall_lightning.modules.encoder_config import EncoderConfig

if TYPE_CHECKING:
    from recall_lightning.modules.recall import RecallModule

OF_ITEMS = ("residual", "popularity", "new_popularity")  # last parts of names: weights that tell one catalogue's items


def check_pooling(start: "RecallModule", config: EncoderConfig, path: str) -> None:
    """Refuse an encoder whose texts would be pooled otherwise than it learned to.

    Raises:
        InputError: if the config's pooling isn't the start's.
    """
    learned = start.encoder_config.pooling
    if config.pooling != learned:
        raise InputError(
            f"model.encoder.pooling is {config.pooling}, but {path} (model.init_from) was trained with {learned}: set "
            "it to that"
        )


def encoder_of(start: "RecallModule", config: EncoderConfig) -> PreTrainedModel:
    """The start's encoder, its adapters made part of it: what is frozen, or gets adapters, is the config's choice."""
    encoder = start.model.encoder.model
    merge_adapters(encoder)
    encoder.requires_grad_(True)
    encoder.set_attn_implementation(config.attention)
    return encoder


def same_items(start: "RecallModule", data: RecallDataModule, name: str) -> bool:
    """Whether a start was trained on the very training part of some data; False where it is of other data altogether.

    Args:
        start: the module.
        data: already set up.
        name: of the start, for messages.

    Raises:
        InputError: if neither is so, since the start may then have seen what the data's split holds out; or if texts
            are cut into other tokens than the start's.
    """
    own = start.background
    assert own is not None
    assert data.tokenizer is not None
    if own.tokenizer.get_vocab() != data.tokenizer.get_vocab():
        raise InputError(
            f"{name}: its encoder reads another vocabulary than that of model.encoder.path: give the folder of the "
            "encoder that it was trained from"
        )
    if own.catalogue.ids == data.catalogue.ids and own.counts.tolist() == data.counts.tolist():
        return True
    if shared := set(own.catalogue.texts) & set(data.catalogue.texts):
        raise InputError(
            f"{name}: trained on {len(shared):,} of these items' texts, such as {min(shared)!r}, but not on the "
            "training part of this split, so it may have seen what is held out here. Start from a model of this very "
            "split, or of other data"
        )
    return False


def take_over(module: "RecallModule", start: "RecallModule", name: str, *, items: bool) -> None:
    """Give a module that was built around `encoder_of` the weights of towers, words, prior, transitions and loss.

    Of words those are taken that both know. A bias by lag is cut to the module's longest history, or goes on with its
    last value. What the start doesn't have (words, transitions, neighbours, residuals) stays new.

    Args:
        module: changed in place.
        start: where the weights come from.
        name: of the start, for messages.
        items: whether weights that tell single items are taken, too.

    Raises:
        InputError: if the towers are of other kinds or widths, or the start has words and the module none.
    """
    if (module.model.n_prior > 0) != (start.model.n_prior > 0):
        raise InputError(f"{name}: set model.prior to {str(start.prior).lower()}, as it was trained")
    for part in ("item_tower", "user_tower"):
        own, given = getattr(module.model, part), getattr(start.model, part).state_dict()
        own.load_state_dict(_taken(own.state_dict(), given, f"{name}: model.{part}", items=items))
    if start.model.words is not None:
        if module.model.words is None:
            least = start.hparams["item_tower"]["init_args"]["words"]
            raise InputError(f"{name}: set model.item_tower.init_args.words to {least}, as it was trained")
        module.model.words.take_over(start.model.words)
    for part, its in start.model.counted.items():
        if part in module.model.counted:
            module.model.counted[part].load_state_dict(its.state_dict())
    own_loss = module.loss.state_dict()
    module.loss.load_state_dict(own_loss | {k: v for k, v in start.loss.state_dict().items() if k in own_loss})


def _taken(own: Mapping[str, Tensor], given: Mapping[str, Tensor], name: str, *, items: bool) -> dict[str, Tensor]:
    """The weights of `given`, and where they tell items that aren't the module's, its own."""
    of_items = {key for key in {*own, *given} if key.rpartition(".")[2] in OF_ITEMS}
    if others := (own.keys() ^ given.keys()) - of_items:
        raise InputError(
            f"{name} is of another kind there ({min(others)} is only in one): give the same class and layers"
        )
    made = dict(own)
    for key in own.keys() & given.keys():
        if key in of_items and not items:
            continue
        weight = _resized(given[key], own[key].shape[-1]) if key.endswith("lag.values") else given[key]
        if weight.shape != own[key].shape:
            raise InputError(
                f"{name}: {key} is {tuple(weight.shape)} there and {tuple(own[key].shape)} here: give the same width, "
                "such as model.item_tower.init_args.dim"
            )
        made[key] = weight
    return made


def _resized(values: Tensor, longest: int) -> Tensor:
    """`(heads, longest)` of `(heads, lags)`: cut, or its last column again."""
    more = values[:, -1:].expand(-1, max(longest - values.shape[1], 0))
    return torch.cat([values[:, :longest], more], 1)
