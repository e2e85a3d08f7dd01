"""Approximate search: an index that looks at some of the items, in place of all."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from recall_lightning.errors import InputError
from recall_lightning.models.scoring import members

if TYPE_CHECKING:
    from recall_lightning.retrieval.recommender import Recommender

Kind = Literal["hnsw", "ivf"]
_USERS_AT_ONCE = 64  # of whom a mask over all items is in memory


class Approximate:
    """An index of faiss over the items that a recommender ranks, on the CPU.

    Args:
        recommender: whose items they are; `use_items` asks for a new index.
        kind: `hnsw` for a graph of neighbours, `ivf` for cells.
        tell: is told what share of the best items the index finds.

    Raises:
        InputError: if the scores are no inner product, so that no index ranks by them, or faiss isn't installed.
    """

    def __init__(self, recommender: "Recommender", kind: Kind, tell: Callable[[str], None]) -> None:
        from recall_lightning.retrieval.export.nearest import built, measured
        from recall_lightning.retrieval.export.ranking import RankedItems

        model = recommender.module.model
        parts = [*model.counted, *(["new_boost"] if model.new_boost else [])]
        if parts:
            raise InputError(
                f"index {kind}: the model's scores are no inner product alone, which is all that an index can rank by: "
                f"model.{' and model.'.join(parts)} add to them. Search exactly (--index exact)"
            )
        self._vectors = recommender.vectors
        self._similarity, self._kind = recommender.module.loss.similarity, kind
        self._index: Any = built(RankedItems.of(recommender).vectors.numpy(), kind)
        tell(f"index {kind} of {self._index.ntotal} items: {measured(recommender, self._index, kind)}")

    def check(self, vectors: Tensor, *, rescored: bool) -> None:
        """Refuse to rank what it wasn't made for.

        Args:
            vectors: of the items that are to be ranked.
            rescored: whether they are to be ranked by other scores than the model's.

        Raises:
            InputError: if the items are others, or the scores are.
        """
        if vectors is not self._vectors:
            raise InputError(f"index {self._kind}: it was made before the items were changed. Make a new one")
        if rescored:
            raise InputError(
                f"index {self._kind}: fusing and a popularity penalty make other scores than the inner product that it "
                "ranks by. Search exactly, or do without them"
            )

    def top_k(self, users: Tensor, k: int, *, known: Tensor | None, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
        """About the k best items of each user; arguments and result as of `scoring.top_k`.

        A list may be shorter than the candidates that are left, where the index doesn't find enough of them.
        """
        from recall_lightning.retrieval.export.ranking import users_to_rank

        n_known = 0 if known is None else int((known >= 0).sum(1).max())
        depth = min(k + n_known, self._index.ntotal)
        asked = users_to_rank(self._similarity, users.float()).cpu().contiguous().numpy()
        found = self._index.search(asked, depth, params=self._parameters(depth, candidates))
        scores, rows = (torch.from_numpy(part).to(users.device) for part in found)
        scores = scores.masked_fill(rows < 0, -torch.inf)
        if known is not None:
            n_items = max(self._index.ntotal, int(known.max()) + 1)
            for first in range(0, len(users), _USERS_AT_ONCE):
                some = slice(first, first + _USERS_AT_ONCE)
                met = members(known[some], n_items).gather(1, rows[some].clamp(min=0))
                scores[some].masked_fill_(met, -torch.inf)
        best = torch.full((len(users), k), -torch.inf, device=users.device)
        best_rows = torch.full((len(users), k), -1, device=users.device)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        best[:, : order.shape[1]], best_rows[:, : order.shape[1]] = scores.gather(1, order), rows.gather(1, order)
        return best, best_rows.masked_fill_(best == -torch.inf, -1)

    def _parameters(self, depth: int, candidates: Tensor | None) -> Any:
        import faiss

        library: Any = faiss  # whose types lack these arguments
        chosen = {}
        if candidates is not None:
            chosen["sel"] = library.IDSelectorBatch(candidates[: self._index.ntotal].nonzero()[:, 0].cpu().numpy())
        if self._kind == "hnsw":
            return library.SearchParametersHNSW(efSearch=max(self._index.hnsw.efSearch, depth), **chosen)
        return library.SearchParametersIVF(nprobe=self._index.nprobe, **chosen)
