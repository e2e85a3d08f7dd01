"""An index of faiss over the items."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recall_lightning.errors import InputError
from recall_lightning.retrieval.export.embeddings import IDS, write_ids
from recall_lightning.retrieval.export.ranking import RankedItems, users_to_rank
from recall_lightning.retrieval.recommender import Recommender

Kind = Literal["flat", "hnsw", "ivf"]
NEIGHBOURS, SEEN_BUILDING, SEEN_SEARCHING = 32, 200, 128  # of hnsw: M, efConstruction, efSearch
TRAINED_BY = 39  # of ivf: items a cell, at least, as faiss asks for; one in CELLS_SEEN of the cells is looked through
CELLS_SEEN = 8
_ASKED, _K = 1000, 10  # users by whom an index's recall is measured, and the items each asks for


def write_index(recommender: Recommender, folder: Path, tell: Callable[[str], None], *, kind: Kind = "flat") -> None:
    """Write `index.faiss`, which finds the items of largest inner product, and the ids of its rows, `ids.json`.

    Args:
        recommender: whose items are written.
        folder: an existing folder.
        tell: is told what was written, and what hnsw and ivf find of the items that flat does.
        kind: `flat` looks at every item and is exact; `hnsw` looks at some, by a graph of neighbours, and `ivf` at
            those in the nearest cells.
    """
    import faiss

    items = RankedItems.of(recommender)
    index, found = built(items.vectors.numpy(), kind), "exact"
    if kind != "flat":
        found = measured(recommender, index, kind)
    faiss.write_index(index, str(folder / "index.faiss"))
    write_ids(items, folder)
    tell(f"faiss: {len(items.ids)} items, {kind}, inner product; {found}; row numbers point into {IDS}")


def built(vectors: NDArray[np.float32], kind: Kind) -> Any:
    """An index over `(items, width)`, such that it finds the largest inner products.

    Raises:
        InputError: if faiss isn't installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(f"index {kind} needs faiss. Install it: pip install 'recall-lightning[index]'") from error
    width = vectors.shape[1]
    index: Any = faiss.IndexFlatIP(width)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = SEEN_BUILDING, SEEN_SEARCHING
    if kind == "ivf":
        n_cells = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // TRAINED_BY))
        index = faiss.IndexIVFFlat(index, width, n_cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = -(-n_cells // CELLS_SEEN)
        index.train(vectors)
    index.add(vectors)
    return index


def measured(recommender: Recommender, index: Any, kind: Kind) -> str:
    """What an index of the items that are ranked finds of what a flat one does, in words."""
    users, flat = _users_of_one_item(recommender), built(RankedItems.of(recommender).vectors.numpy(), "flat")
    k = min(_K, index.ntotal)
    share = recall(flat, index, users.numpy(), k)
    return f"recall@{k} of {kind} against flat is {share:.3f}, by {len(users)} users of one item each"


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
