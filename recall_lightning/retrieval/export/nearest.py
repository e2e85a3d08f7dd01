"""An index of faiss over the items."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recall_lightning.retrieval.export.embeddings import IDS, write_ids
from recall_lightning.retrieval.export.ranking import RankedItems, users_to_rank
from recall_lightning.retrieval.recommender import Recommender

Kind = Literal["flat", "hnsw"]
NEIGHBOURS, SEEN_BUILDING, SEEN_SEARCHING = 32, 200, 128  # of hnsw: M, efConstruction, efSearch
_ASKED, _K = 1000, 10  # users by whom hnsw's recall is measured, and the items each asks for


def write_index(recommender: Recommender, folder: Path, tell: Callable[[str], None], *, kind: Kind = "flat") -> None:
    """Write `index.faiss`, which finds the items of largest inner product, and the ids of its rows, `ids.json`.

    Args:
        recommender: whose items are written.
        folder: an existing folder.
        tell: is told what was written, and what hnsw finds of the items that flat does.
        kind: `flat` looks at every item and is exact; `hnsw` looks at some, by a graph of neighbours.
    """
    import faiss

    index: Any
    items = RankedItems.of(recommender)
    vectors = items.vectors.numpy()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    index, found = flat, "exact"
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = SEEN_BUILDING, SEEN_SEARCHING
        index.add(vectors)
        users = _users_of_one_item(recommender)
        k = min(_K, len(vectors))
        share = recall(flat, index, users.numpy(), k)
        found = f"recall@{k} of hnsw against flat is {share:.3f}, by {len(users)} users of one item each"
    faiss.write_index(index, str(folder / "index.faiss"))
    write_ids(items, folder)
    tell(f"faiss: {len(vectors)} items, {kind}, inner product; {found}; row numbers point into {IDS}")


def recall(exact: Any, index: Any, users: Any, k: int) -> float:
    """Share of the k items that an exact index finds for users `(users, width)` which another finds, too."""
    (_, wanted), (_, found) = exact.search(users, k), index.search(users, k)
    return float(np.mean([len(np.intersect1d(w, f)) / k for w, f in zip(wanted, found, strict=True)]))


def _users_of_one_item(recommender: Recommender) -> Tensor:
    """`(users, width)` float: what is asked for by users of one of the items each, drawn, always the same."""
    n = recommender.n_ranked
    drawn = np.random.default_rng(0).permutation(n)[:_ASKED]
    recent = torch.from_numpy(drawn)[:, None].to(recommender.device)
    with torch.inference_mode():
        users = recommender.user_vectors(recent).float().cpu()
        return users_to_rank(recommender.module.loss.similarity, users).contiguous()
