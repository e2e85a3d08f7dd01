"""The README.md of an encoder that is given away: what it is, what it was trained on, what it is no good for."""

from collections.abc import Sequence
from typing import Any

from torch import nn

CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, sentence-similarity, recommender-systems, recall-lightning]
---

# Item encoder

Encodes the texts of a catalogue's items into vectors whose similarity ranks items: those that a user may want beside
those that they took. Exported from a checkpoint of recall-lightning.

- Modules: {modules}
- Vectors: {dim} coordinates, compared by {similarity}
- Texts are cut at {max_text_tokens} tokens

## How to use

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("this folder")
vectors = model.encode({examples})
print(model.similarity(vectors, vectors))
```

Texts should be made as those of the training were, by the template `{template}`.

## Data

- {n_items} items with texts, {n_interactions} interactions in training
- Split: `{split}`
- Method: {method}; of the encoder {encoder}

## Figures

{figures}

## Limits

- It knows items by their text alone. {beside}
- It has no user tower: describe a user by `export --format onnx`, or rank by `recommend`.
- Its similarities were made for ranking this catalogue. On other data, measure before use.
"""


def model_card(checkpoint: dict[str, Any], modules: Sequence[str], projection: nn.Module, text_dim: int) -> str:
    """Fill the card in from a checkpoint, as `read_checkpoint` gives it; no path of the training machine is named.

    Args:
        checkpoint: what was exported.
        modules: of sentence-transformers.
        projection: a linear layer behind the encoder, or the identity.
        text_dim: width of the encoder's vectors.
    """
    settings, parts = checkpoint["hyper_parameters"], checkpoint["recall_lightning"]
    catalogue, data = parts["catalogue"], checkpoint.get("datamodule_hyper_parameters", {})
    frozen, adapted = settings["encoder"]["frozen_layers"], settings["encoder"]["lora_rank"] is not None
    similarity = settings["loss"]["init_args"].get("similarity")
    return CARD.format(
        modules=", ".join(modules),
        dim=projection.out_features if isinstance(projection, nn.Linear) else text_dim,
        similarity=similarity["class_path"].rpartition(".")[2].lower() if similarity else "cosine",
        max_text_tokens=parts["max_text_tokens"],
        examples=[_one_line(text)[:80] for text in catalogue["texts"][:2]],
        template=_one_line(catalogue["template"]),
        n_items=f"{len(catalogue['ids']):,}",
        n_interactions=f"{int(parts['counts'].sum()):,}",
        split=data.get("splits", {}).get("name", "unknown"),
        method="`maml`, exported as it is before it adapts" if "inner_loop" in settings else "`recall`",
        encoder="nothing was trained: it is as it came" if frozen == -1
        else "adapters were trained, merged here" if adapted
        else f"all but the {frozen} lowest layers were trained" if frozen
        else "every layer was trained",
        figures=_figures(checkpoint),
        beside=_beside(settings),
    )  # fmt: skip


def _beside(settings: dict[str, Any]) -> str:
    """What the model ranks by beside texts and the user tower."""
    has = {
        "residuals of single items": settings["item_tower"]["init_args"]["residual"],
        "a prior of popularity": settings.get("prior"),
        "transitions from item to item": settings.get("transitions"),
        "neighbours of items": settings.get("neighbours"),
    }
    parts = [name for name in has if has[name]]
    return f"What the model has beside that isn't here: {', '.join(parts)}." if parts else "So does the whole model."


def _figures(checkpoint: dict[str, Any]) -> str:
    """Validation metrics as a table, where the checkpoint holds some."""
    best = checkpoint.get("callbacks", {}).get("FinalMetrics", {}).get("best", {})
    shown = {name.removeprefix("val/"): value for name, value in best.items() if name.startswith("val/")}
    shown = {name: value for name, value in shown.items() if name.startswith(("recall", "ndcg", "mrr"))}
    if not shown:
        return "The checkpoint holds none."
    table = [
        f"| {' | '.join(shown)} |",
        f"|{'---|' * len(shown)}",
        f"| {' | '.join(f'{v:.4f}' for v in shown.values())} |",
    ]
    told = (
        "Validation, the full catalogue ranked by the whole model, user tower and all: the best until this checkpoint."
    )
    if "inner_loop" in checkpoint["hyper_parameters"]:
        told = f"{told} Users were adapted to."
    return "\n".join([told, "", *table])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
