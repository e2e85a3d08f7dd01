"""Encoders and tokenizers from a folder, or from what a checkpoint carries."""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import get_verbosity, set_verbosity

from recall_lightning.errors import InputError
from recall_lightning.whole import folder_written_whole

log = logging.getLogger(__name__)


def load_model(path: str, *, attention: str = "sdpa", masked_language: bool = False) -> PreTrainedModel:
    """The encoder in a folder (or of a hub's name), with its weights.

    Args:
        path: the folder or name.
        attention: transformers' `attn_implementation`.
        masked_language: whether under its masked-language head, which starts anew where there is none.

    Raises:
        InputError: if there is no encoder, its weights are not safetensors or safely loadable, or transformers has no
            such head for its architecture.
    """
    _check_folder(path)
    try:
        if not masked_language:
            return _loaded(AutoModel, path, attention)
        config = AutoConfig.from_pretrained(path)
        if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
            return _loaded(AutoModelForMaskedLM, path, attention)
    except (OSError, ValueError, KeyError) as error:
        raise _no_encoder(path, error) from error
    raise InputError(
        f"model.encoder.path: {path} is of the architecture {config.model_type}, for which transformers has no "
        "masked-language head (AutoModelForMaskedLM). Give a BERT-family encoder, or pretrain without that "
        "objective: model.mlm_weight: 0"
    )


def _loaded(kind: Any, path: str, attention: str) -> PreTrainedModel:
    """A model of one of transformers' auto classes; weights that it doesn't find are told in a line of our own."""
    said = get_verbosity()
    set_verbosity(logging.ERROR)  # its table is nothing to act upon
    try:
        model: PreTrainedModel
        model, found = kind.from_pretrained(path, attn_implementation=attention, output_loading_info=True)
    finally:
        set_verbosity(said)
    encoder = model.base_model
    own = {name if encoder is model else f"{model.base_model_prefix}.{name}" for name, _ in encoder.named_parameters()}
    if missing := sorted(name for name in own & found["missing_keys"] if "pooler" not in name):  # which nothing reads
        log.warning("%s lacks %d of the encoder's weights, such as %s: made at random", path, len(missing), missing[0])
    if found["missing_keys"] - own:
        log.info("%s has no masked-language head: it starts anew", path)
    return model


def model_config(model: PreTrainedModel) -> dict[str, Any]:
    """The model's configuration as plain types, to be carried by a checkpoint."""
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    config.pop("_name_or_path", None)  # where the training machine had it
    return config


def model_from_config(config: dict[str, Any], *, masked_language: bool = False) -> PreTrainedModel:
    """The inverse of `model_config`: a model whose weights are still to be filled in; as of `load_model`."""
    kind = AutoModelForMaskedLM if masked_language else AutoModel
    model: PreTrainedModel = kind.from_config(AutoConfig.for_model(**config))  # type: ignore[no-untyped-call]
    return model


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The encoder's tokenizer.

    Raises:
        InputError: if there is none.
    """
    _check_folder(path)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise _no_encoder(path, error) from error
    return tokenizer


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write an encoder as a folder that `load_model`, and any program on transformers, can load.

    It holds config, weights (safetensors) and tokenizer, is written whole or not at all, and replaces one of that name.
    """
    with folder_written_whole(folder) as made:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)


def tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The tokenizer as the texts of its files, to be carried by a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_text(encoding="utf-8") for file in sorted(Path(folder).iterdir())}


def tokenizer_from_files(files: dict[str, str]) -> PreTrainedTokenizerBase:
    """The inverse of `tokenizer_files`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / Path(name).name).write_text(text, encoding="utf-8")
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        return tokenizer


def _check_folder(path: str) -> None:
    """A path that looks like a folder must be one, else transformers would ask a hub for it."""
    looks_like_folder = (
        os.path.isabs(path) or path.startswith((".", "~")) or path.count("/") != 1 or Path(path).parent.is_dir()
    )
    if Path(path).exists() or looks_like_folder:
        if not Path(path).is_dir():
            raise InputError(
                f"model.encoder.path: no folder {path}. Give the folder of a transformers encoder, or get one by "
                "`recall-lightning fetch minilm`"
            )
        config = Path(path) / "config.json"
        if not config.is_file():
            raise InputError(
                f"model.encoder.path: {path} holds no encoder (no config.json). Give the folder of a transformers "
                "encoder, such as `recall-lightning fetch minilm` makes"
            )
        try:
            json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _no_encoder(path, error) from error


def _no_encoder(path: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(
        f"model.encoder.path: {path} is no encoder that transformers can load ({reason}). Give a folder with "
        "config.json, model.safetensors and tokenizer.json, such as `recall-lightning fetch minilm` makes"
    )
