"""TfIdfProfile and Bm25Profile: items whose texts share words with the texts of the history."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from recall_lightning.baselines.base import Contender, UnavailableError
from recall_lightning.baselines.libraries import library
from recall_lightning.baselines.matrices import Sparse, history_items
from recall_lightning.data.batches import EvalBatch
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints


class _TextProfile(Contender):
    """Scores an item by its words' weights times those of the profile's items.

    A word has two letters or digits at least. The vocabulary, and all that is counted of it, comes of the items that
    are trained on: a held-out item's text is weighed by what was known before it came.
    """

    score_grid = {"last": (5, 1, 3, 10, 20, None)}  # noqa: RUF012
    serves_new_items = True
    counts_interactions = False

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        counter = library("sklearn.feature_extraction.text").CountVectorizer(dtype=np.float32)
        trained = np.unique(train.items)
        try:
            counter.fit([data.catalogue.texts[row] for row in trained])
        except ValueError as error:  # of an empty vocabulary
            raise UnavailableError("finds no word of two letters or more in the texts") from error
        counts = counter.transform(data.catalogue.texts).tocsr()  # (items, words)
        self.queries, documents = self._weigh(counts, trained)
        self.documents = documents.T.tocsr()

    def score(self, batch: EvalBatch) -> Tensor:
        profile = history_items(batch.history, self.queries.shape[0], self.settings["last"]) @ self.queries
        return torch.from_numpy((profile @ self.documents).toarray())

    @abstractmethod
    def _weigh(self, counts: Sparse, trained: Ints) -> tuple[Sparse, Sparse]:
        """Weights of words in items, where these are in a profile, and where they are ranked.

        Args:
            counts: `(items, words)` float32.
            trained: `(trained,)` int64 rows of the items that are trained on.
        """


class TfIdfProfile(_TextProfile):
    """Scores an item by the cosine of its tf-idf vector to the sum of those of the newest items of the history.

    `w_it = f_it (ln((1 + N) / (1 + n_t)) + 1)`, then divided by its length (Salton and Buckley, 1988, with
    scikit-learn's smoothing). f_it: times that word t is in item i's text; n_t of the N trained-on items have it.

    Settings:
        last: newest items of a history that make the profile; None for all.
    """

    name = "tf-idf profile"

    def _weigh(self, counts: Sparse, trained: Ints) -> tuple[Sparse, Sparse]:
        weigh = library("sklearn.feature_extraction.text").TfidfTransformer().fit(counts[trained])
        weights = weigh.transform(counts)
        return weights, weights  # the sum's own length is the same for all candidates: the order is the cosine's


class Bm25Profile(_TextProfile):
    """Scores an item by BM25, the query being the texts of the newest items of the history.

    `score_j = sum_t q_t idf_t f_jt (k1 + 1) / (f_jt + k1 (1 - b + b l_j / l))` with
    `idf_t = ln(1 + (N - n_t + 0.5) / (n_t + 0.5))` (Robertson and Zaragoza, 2009; the 1 keeps it positive, as in
    Lucene). q_t, f_jt: times that word t is in the profile's texts, in item j's; l_j: words of j, l their mean over the
    N trained-on items, of which n_t have t.

    Args:
        k1: how late a word's repetition ceases to count.
        b: how much long texts are held back.

    Settings:
        last: newest items of a history that make the profile; None for all.
    """

    name = "BM25 profile"

    def __init__(self, *, k1: float = 1.2, b: float = 0.75, **settings: object) -> None:
        super().__init__(**settings)
        self.k1, self.b = k1, b

    @property
    def identity(self) -> dict[str, float]:
        return {"k1": self.k1, "b": self.b}

    def _weigh(self, counts: Sparse, trained: Ints) -> tuple[Sparse, Sparse]:
        n_with = np.bincount(counts[trained].indices, minlength=counts.shape[1])
        idf = np.log1p((len(trained) - n_with + 0.5) / (n_with + 0.5))
        lengths = np.asarray(counts.sum(1)).ravel()
        held_back = self.k1 * (1 - self.b + self.b * lengths / max(lengths[trained].mean(), 1))
        held_back = np.repeat(held_back, np.diff(counts.indptr))  # one for each word of each item
        weights = counts.copy()
        repeated = counts.data * (self.k1 + 1) / (counts.data + held_back)
        weights.data = (idf[counts.indices] * repeated).astype(np.float32)
        return counts, weights
