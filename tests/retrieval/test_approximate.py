"""Approximate search: an index that finds about what looking at every item does."""

import pytest
import torch
from exports import trained

from recall_lightning import Cosine, Dot, Euclidean, InputError, MeanTower, Recommender
from recall_lightning.models.top_k import top_k
from recall_lightning.retrieval.approximate import Approximate
from recall_lightning.retrieval.rails import Rails

faiss = pytest.importorskip("faiss", reason="the extra `index` isn't installed")

N_ITEMS = 4000
HISTORIES = {"zoe": ["alien", "i7"], "yan": ["007", "i11", "i12"], "new": []}


@pytest.fixture(scope="module")
def folder(write_typed, tmp_path_factory):
    folder = write_typed(tmp_path_factory.mktemp("approximate"))
    rows = (f"i{i},Film {i * 7919 % N_ITEMS} {'abcdefgh'[i % 8]},{1900 + i % 100},Drama" for i in range(N_ITEMS))
    (folder / "many.csv").write_text("\n".join(["item_id,title,year,genres", "007,James,1963,Action", *rows]))
    return folder


@pytest.fixture(scope="module", params=["cosine, prior", "dot", "euclidean"])
def recommender(request, folder, tiny_encoder):
    similarity = {"cosine": Cosine(), "dot": Dot(), "euclidean": Euclidean()}[request.param.split(",")[0]]
    checkpoint = trained(folder, tiny_encoder, MeanTower(), similarity=similarity, prior="prior" in request.param)
    made = Recommender.from_checkpoint(checkpoint, device="cpu")
    made.use_items(folder / "many.csv")
    return made


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_index_finds_most_of_the_best_items_and_tells_what_share(recommender, kind):
    told = []
    index = Approximate(recommender, kind, told.append)
    (line,) = told
    start = f"index {kind} of {N_ITEMS + 1} items: recall@10 of {kind} against flat is "
    assert line.startswith(start)
    # ivf looks through an eighth of the cells; the vectors of a Euclidean distance lead hnsw astray, which it tells
    least = {"hnsw": 0 if isinstance(recommender.module.loss.similarity, Euclidean) else 0.5, "ivf": 0.1}[kind]
    assert float(line.removeprefix(start).split(",")[0]) >= least
    prepared = recommender.prepare(HISTORIES)
    (exact,), (found,) = (list(recommender.stream(prepared, k=20, index=each)) for each in (None, index))
    assert found["user_id"].equals(exact["user_id"])  # lists are as long
    pairs = [{(row["user_id"], row["item_id"]) for row in table.to_pylist()} for table in (exact, found)]
    assert len(pairs[0] & pairs[1]) >= least * len(pairs[0])
    score = {(row["user_id"], row["item_id"]): row["score"] for row in exact.to_pylist()}
    for row in found.to_pylist():
        assert row["score"] == pytest.approx(score.get((row["user_id"], row["item_id"]), row["score"]), abs=1e-4)
        assert row["item_id"] not in HISTORIES[row["user_id"]]


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_lists_are_filled_up_exactly_where_the_index_finds_too_few(recommender, kind):
    index = Approximate(recommender, kind, lambda line: None)
    few = [f"i{i}" for i in range(3, 40)]
    prepared = recommender.prepare(HISTORIES)
    exact, found = (
        next(recommender.stream(prepared, k=60, candidates=few, index=each)).to_pydict() for each in (None, index)
    )
    assert found["item_id"] == exact["item_id"]
    assert found["user_id"].count("zoe") == len(few) - 1  # i7 is known


def test_what_is_found_is_what_was_asked_for(recommender):
    index = Approximate(recommender, "hnsw", lambda line: None)
    users = recommender.user_vectors(torch.tensor([[3, 5], [-1, 9]]))
    allowed = torch.arange(len(recommender.pool)) % 2 == 0
    scores, rows = index.top_k(users, 5, known=torch.tensor([[4, 8], [6, -1]]), candidates=allowed)
    assert bool((rows % 2 == 0).all())
    assert not {4, 8} & set(rows[0].tolist())
    best, _ = top_k(users, recommender.vectors, recommender.module.loss.similarity, 5, candidates=allowed)
    assert bool((scores <= best[:, :1] + 1e-4).all())
    assert bool((scores[:, 1:] <= scores[:, :-1]).all())


@pytest.mark.parametrize("settings", [{"transitions": True}, {"neighbours": True}, {"new_boost": 1.0}])
def test_scores_that_are_no_inner_product_alone_are_refused(typed, tiny_encoder, settings):
    recommender = Recommender.from_checkpoint(trained(typed, tiny_encoder, **settings), device="cpu")
    told = rf"index hnsw: .* no inner product alone.*: model\.{next(iter(settings))} add to them\. Search exactly"
    with pytest.raises(InputError, match=told):
        Approximate(recommender, "hnsw", print)


def test_an_index_ranks_neither_other_items_nor_by_other_scores_than_it_was_made_for(typed, tiny_encoder):
    recommender = Recommender.from_checkpoint(trained(typed, tiny_encoder, MeanTower(), similarity=Dot()), device="cpu")
    index, asked = Approximate(recommender, "hnsw", lambda line: None), recommender.prepare({"zoe": ["heat"]})
    with pytest.raises(InputError, match=r"index hnsw: fusing and a popularity penalty.*Search exactly"):
        next(recommender.stream(asked, k=2, index=index, guard=recommender.guard(Rails(popularity_penalty=1.0))))
    recommender.add_items({"new": "a new film"})
    with pytest.raises(InputError, match=r"index hnsw: .*before the items were changed\. Make a new one"):
        next(recommender.stream(asked, k=2, index=index))
