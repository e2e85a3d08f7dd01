"""`export --format faiss`: an index that finds what `recommend` does."""

import json

import numpy as np
import pytest
from exports import exported, trained, users_of

from recall_lightning import Cosine, Dot, Euclidean, ItemTower
from recall_lightning.retrieval.export.nearest import recall
from recall_lightning.retrieval.export.ranking import users_to_rank

faiss = pytest.importorskip("faiss", reason="the extra `index` isn't installed")

HISTORIES = {"zoe": ["alien", "heat"], "yan": ["007", "fargo"]}


@pytest.mark.parametrize(
    ("similarity", "prior"), [(Cosine(), True), (Cosine(), False), (Dot(), True), (Euclidean(), False)]
)
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_neighbours_are_those_of_recommend(typed, tiny_encoder, tmp_path, similarity, prior, kind):
    checkpoint = trained(typed, tiny_encoder, similarity=similarity, prior=prior)
    recommender, told = exported(checkpoint, tmp_path / "out", "faiss", index=kind)
    finds_what_is_recommended(recommender, tmp_path / "out")
    share = "exact" if kind == "flat" else f"recall@5 of {kind} against flat is 1.000, by 5 users of one item each"
    assert told == [f"faiss: 5 items, {kind}, inner product; {share}; row numbers point into ids.json"]


@pytest.mark.network
def test_the_neighbours_by_the_real_minilm_are_those_of_recommend(typed, minilm, tmp_path):
    checkpoint = trained(typed, minilm, encoder_settings={"frozen_layers": -1}, item_tower=ItemTower(64), prior=True)
    recommender, _ = exported(checkpoint, tmp_path / "out", "faiss", index="flat")
    finds_what_is_recommended(recommender, tmp_path / "out")


def finds_what_is_recommended(recommender, folder):
    """Whether the index in a folder gives users their items in the order, and with the scores, of `recommend`."""
    index, ids = faiss.read_index(str(folder / "index.faiss")), json.loads((folder / "ids.json").read_text())
    users = users_to_rank(recommender.module.loss.similarity, users_of(recommender, *HISTORIES.values()))
    scores, rows = index.search(users.numpy(), 5)
    found = recommender.recommend(HISTORIES, k=5, include_known=True)
    for user, of_user, of_scores in zip(HISTORIES, rows, scores, strict=True):
        assert [ids[row] for row in of_user] == [item for item, _ in found.of(user)]
        assert of_scores == pytest.approx([score for _, score in found.of(user)], abs=1e-5)


def test_recall_is_the_share_of_the_exact_neighbours_that_are_found():
    class Found:
        def __init__(self, rows):
            self.rows = rows

        def search(self, users, k):
            return None, np.array(self.rows)[:, :k]

    exact, other = Found([[1, 2, 3], [4, 5, 6]]), Found([[3, 1, 9], [-1, -1, 4]])
    assert recall(exact, other, np.zeros((2, 1)), 3) == pytest.approx((2 / 3 + 1 / 3) / 2)
