"""`export --format embeddings`: vectors whose inner product with a user's is the score that `recommend` gives."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from exports import exported, trained, users_of
from safetensors import safe_open

from recall_lightning import Cosine, Dot, Euclidean, Recommender
from recall_lightning.retrieval.export.folder import export
from recall_lightning.retrieval.export.ranking import users_to_rank

ITEMS = ["heat", "alien", "brazil", "fargo", "007"]


def read(folder):
    """The ids, both kinds of vectors, and what is said of them."""
    with safe_open(folder / "embeddings.safetensors", "pt") as file:
        ids = json.loads((folder / "ids.json").read_text())
        return (
            ids,
            file.get_tensor("vectors"),
            file.get_tensor("item_vectors"),
            json.loads(file.metadata()["recall_lightning"]),
        )


@pytest.mark.parametrize(
    ("similarity", "prior", "width"),
    [(Cosine(), False, 32), (Dot(), False, 32), (Euclidean(), False, 34), (Cosine(), True, 39), (Dot(), True, 39)],
)
def test_an_inner_product_of_the_vectors_is_the_score(typed, tiny_encoder, tmp_path, similarity, prior, width):
    checkpoint = trained(typed, tiny_encoder, similarity=similarity, prior=prior)
    recommender, told = exported(checkpoint, tmp_path / "out", "embeddings")
    ids, vectors, item_vectors, metadata = read(tmp_path / "out")
    assert (ids, vectors.shape) == (ITEMS, (5, width))
    torch.testing.assert_close(item_vectors, recommender.vectors)
    user = users_to_rank(recommender.module.loss.similarity, users_of(recommender, ["alien", "heat"]))
    scores = dict(zip(ids, (user @ vectors.T)[0].tolist(), strict=True))
    found = recommender.recommend({"zoe": ["alien", "heat"]}, include_known=True).of("zoe")
    assert scores == pytest.approx(dict(found), abs=1e-5)
    assert metadata["similarity"] == type(similarity).__name__.lower()
    assert metadata["popularity_coordinates"] == 7 * prior
    popular = ", the last 7 of them the popularity's" if prior else ""
    assert told == [f"embeddings: 5 items, {width} coordinates{popular}; the score is the inner product"]


def test_parquet_holds_the_same_vectors_beside_ids_and_titles(typed, tiny_encoder, tmp_path):
    exported(trained(typed, tiny_encoder), tmp_path / "out", "embeddings")
    table = pq.read_table(tmp_path / "out" / "embeddings.parquet")
    assert table.column_names == ["item_id", "title", "vector"]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[32]"
    assert table["item_id"].to_pylist() == ITEMS
    assert table["title"].to_pylist()[::4] == ["Heat", "From Russia, with Love"]
    assert torch.tensor(table["vector"].to_pylist()).equal(read(tmp_path / "out")[1])


def test_what_no_vector_holds_is_told(typed, tiny_encoder, tmp_path):
    checkpoint = trained(typed, tiny_encoder, transitions=True, neighbours=True, candidates="catalogue", new_boost=1.0)
    _, told = exported(checkpoint, tmp_path / "out", "embeddings")
    assert told[-1].startswith("model.transitions and model.neighbours and model.new_boost: no part of any vector")


def test_items_that_training_never_saw_get_vectors_of_their_texts(typed, tiny_encoder, tmp_path):
    (tmp_path / "new.csv").write_text(
        f"item_id,title,year,genres\nheat,Heat,1995,Action\nbio {chr(8364)},Bio,1996,Comedy\n"
    )
    recommender = Recommender.from_checkpoint(trained(typed, tiny_encoder), device="cpu")
    recommender.use_items(tmp_path / "new.csv")
    export(recommender, ["embeddings"], tmp_path / "out", lambda line: None)
    ids, vectors, item_vectors, _ = read(tmp_path / "out")
    assert ids == ["heat", f"bio {chr(8364)}"]
    assert (len(vectors), item_vectors.equal(recommender.vectors[:2])) == (2, True)
