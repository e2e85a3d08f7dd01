"""The encoder as a folder of sentence-transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from recall_lightning.errors import InputError
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.modules.checkpoint import read_checkpoint
from recall_lightning.retrieval.export.merged import merged_encoder
from recall_lightning.retrieval.export.model_card import model_card
from recall_lightning.retrieval.export.ranking import similarity_of_texts
from recall_lightning.retrieval.recommender import Recommender


def write_sentence_transformer(recommender: Recommender, folder: Path, tell: Callable[[str], None]) -> None:
    """Write what `SentenceTransformer(folder)` loads: it encodes a text as the model does an item it doesn't know.

    It is the layout that all versions of the library read, and writing it needs none of them. What stands behind a
    vector's coordinates for a prior is left out, and for a cosine vectors are scaled to length 1.

    Args:
        recommender: of a checkpoint, whose model is written.
        folder: an existing folder.
        tell: is told what was written.

    Raises:
        InputError: if the model has words, which none of the library's modules adds to a vector.
    """
    if recommender.module.model.words is not None:
        raise InputError(
            "--format sentence-transformers: the model's item tower has words, which the library has no module for. "
            "Leave the format out (onnx holds them), or train with model.item_tower.init_args.words: null"
        )
    module, background = recommender.module, recommender.background
    encoder, similarity = merged_encoder(module.model.encoder), similarity_of_texts(module.loss.similarity)
    tower = module.model.item_tower
    projection = (tower if isinstance(tower, ItemTower) else tower.tower).projection
    encoder.model.save_pretrained(folder)
    background.tokenizer.save_pretrained(folder)
    settings: dict[str, Any] = {"max_seq_length": background.max_text_tokens, "do_lower_case": False}
    if hasattr(encoder.model, "pooler"):  # which was taken off: it isn't to be made anew, at random
        settings["model_args"] = {"add_pooling_layer": False}
    _write_json(folder / "sentence_bert_config.json", settings)
    _write_json(folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": similarity})
    names = ["Transformer", "Pooling"]
    _write_json(_module(folder, names) / "config.json", _pooling(encoder))
    if isinstance(projection, nn.Linear):
        names.append("Dense")
        _write_dense(projection, _module(folder, names))
    if similarity == "cosine":
        names.append("Normalize")
        _module(folder, names)
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(names)
    ]
    _write_json(folder / "modules.json", modules)
    card = model_card(read_checkpoint(Path(recommender.source)), names, projection, encoder.dim)
    (folder / "README.md").write_text(card, encoding="utf-8")
    tell(f"sentence-transformers: {', '.join(names)}; texts are cut at {background.max_text_tokens} tokens")


def _module(folder: Path, names: list[str]) -> Path:
    """Make the folder of the last module that is named."""
    made = folder / f"{len(names) - 1}_{names[-1]}"
    made.mkdir()
    return made


def _pooling(encoder: TextEncoder) -> dict[str, Any]:
    return {
        "word_embedding_dimension": encoder.dim,
        "pooling_mode_cls_token": encoder.pooling == "cls",
        "pooling_mode_mean_tokens": encoder.pooling == "mean",
    }


def _write_dense(projection: nn.Linear, folder: Path) -> None:
    settings = {
        "in_features": projection.in_features, "out_features": projection.out_features, "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }  # fmt: skip
    _write_json(folder / "config.json", settings)
    save_file({"linear.weight": projection.weight.detach().cpu().contiguous()}, folder / "model.safetensors")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
