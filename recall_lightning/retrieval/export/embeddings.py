"""Item vectors as files: safetensors, Parquet, and the ids."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save_file

from recall_lightning.retrieval.export.ranking import RankedItems, similarity_of_texts
from recall_lightning.retrieval.recommender import Recommender

IDS = "ids.json"


def write_embeddings(recommender: Recommender, folder: Path, tell: Callable[[str], None]) -> None:
    """Write `embeddings.safetensors`, `embeddings.parquet` and `ids.json`.

    Of the first, `vectors` `(items, width)` are ranked by inner product with a user's (`ranking_vector` of
    `user_tower.onnx`), and `item_vectors` `(items, dim)` are what user towers read. The ids of their rows stand in a
    file of their own, a JSON list, since any program can read that, and a safetensors header has a largest size.
    Parquet has `item_id`, `title` and `vector`, a row of `vectors`.

    Args:
        recommender: whose items are written.
        folder: an existing folder.
        tell: is told what was written.
    """
    items = RankedItems.of(recommender)
    n_items, width = items.vectors.shape
    similarity = recommender.module.loss.similarity
    n_popularity = max(recommender.module.model.n_prior - 1, 0)
    said = {
        "vectors": "their inner product with a user's ranking vector is the score",
        "item_vectors": "the model's own, which user towers read",
        "ids": f"{IDS}, in the rows' order",
        "similarity": similarity_of_texts(similarity) or type(similarity).__name__,
        "popularity_coordinates": n_popularity,  # the last of vectors
    }
    # of one entry, since several would stand in any order; and not the same memory twice, which safetensors refuses
    tensors = {"vectors": items.vectors, "item_vectors": items.item_vectors.clone()}
    save_file(tensors, folder / "embeddings.safetensors", {"recall_lightning": json.dumps(said)})
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(items.vectors.numpy().reshape(-1)), width)
    table = pa.table({"item_id": pa.array(items.ids, pa.string()), "title": items.titles, "vector": vectors})
    pq.write_table(table, folder / "embeddings.parquet")
    write_ids(items, folder)
    popular = f", the last {n_popularity} of them the popularity's" if n_popularity else ""
    tell(f"embeddings: {n_items} items, {width} coordinates{popular}; the score is the inner product")


def write_ids(items: RankedItems, folder: Path) -> None:
    """Write the ids of all rows as a JSON list."""
    (folder / IDS).write_text(json.dumps(items.ids, ensure_ascii=False), encoding="utf-8")
