"""Explaining: which items of a history, and which words, a score is owed to."""

import csv
import json

import pyarrow.parquet as pq
import pytest
import torch
from exports import trained

from recall_lightning import (
    AttentionTower,
    Dot,
    Euclidean,
    InputError,
    ItemTower,
    MeanTower,
    Recommender,
    TransformerTower,
)
from recall_lightning.retrieval.explaining import Explaining
from recall_lightning.retrieval.recommendations import write

HISTORIES = {"zoe": ["heat", "alien"], "yan": ["007"], "all": ["heat", "brazil", "fargo"]}
COUNTED = {"prior": True, "transitions": True, "neighbours": True, "new_boost": 0.5}
MODELS = {
    "mean": (MeanTower(), {}),
    "mean of the last two": (MeanTower(last=2), COUNTED),
    "attention": (AttentionTower(), COUNTED | {"item_tower": ItemTower(residual=True, words=1)}),
    "attention, dot": (AttentionTower(), {"similarity": Dot()}),
    "mean, Euclidean": (MeanTower(), {"similarity": Euclidean(), "transitions": True}),
    "transformer": (TransformerTower(1, 2), COUNTED),
}
EXACT = ["mean", "mean of the last two", "attention", "attention, dot"]


@pytest.fixture(scope="module", params=MODELS)
def explained(request, tiny_encoder, write_typed, tmp_path_factory):
    """The name of a model, and a recommender by it."""
    tower, settings = MODELS[request.param]
    folder = write_typed(tmp_path_factory.mktemp("explained"))
    checkpoint = trained(folder, tiny_encoder, tower, **settings)
    return request.param, Recommender.from_checkpoint(checkpoint, device="cpu")


def recommended(recommender, history, item):
    """The score that `recommend` gives."""
    return dict(recommender.recommend({"u": history}, k=9, include_known=True).of("u"))[item]


def test_the_shares_of_all_items_and_the_rest_add_up_to_the_score_that_is_recommended_by(explained):
    name, recommender = explained
    for history in HISTORIES.values():
        for item in recommender.pool.ids:
            why = recommender.explain(history, item)
            assert (why.exact, [i for i, _ in why.items]) == (name in EXACT, history)
            assert why.score == pytest.approx(recommended(recommender, history, item), abs=2e-5)
            assert sum(share for _, share in why.items) + why.rest == pytest.approx(why.score, abs=1e-5)


@torch.inference_mode()
def test_of_a_weighted_mean_a_share_is_the_items_part_of_the_inner_product(explained):
    name, recommender = explained
    if name not in {"mean", "attention, dot"}:
        pytest.skip("the others have parts beside the towers, or share out drops")
    vector = {item: recommender.vectors[recommender.pool.row(item)] for item in recommender.pool.ids}
    history = ["heat", "alien", "brazil"]
    weights = [1 / 3] * 3
    if name == "attention, dot":
        tower = recommender.module.model.user_tower
        logits = [tower.score(vector[item])[0] + tower.lag.values[0, 2 - place] for place, item in enumerate(history)]
        weights = torch.stack(logits).softmax(0).tolist()
    user = sum(weight * vector[item] for weight, item in zip(weights, history, strict=True))
    lengths = 1 if "dot" in name else user.norm() * vector["fargo"].norm()
    slow = [float(w * vector[item] @ vector["fargo"] / lengths) for w, item in zip(weights, history, strict=True)]
    why = recommender.explain(history, "fargo")
    assert [share for _, share in why.items] == pytest.approx(slow, abs=1e-6)
    assert why.rest == pytest.approx(0, abs=1e-6)


def test_of_any_other_model_a_share_is_what_the_whole_score_loses_without_the_item(explained):
    name, recommender = explained
    if name in EXACT:
        pytest.skip("shared out exactly")
    history = ["heat", "alien", "brazil"]
    why = recommender.explain(history, "fargo")
    for item, share in why.items:
        without = recommended(recommender, [other for other in history if other != item], "fargo")
        assert share == pytest.approx(recommended(recommender, history, "fargo") - without, abs=2e-5)
    only = recommender.explain(["heat"], "fargo")
    assert only.items == [("heat", pytest.approx(only.score))]  # there is no score without any item


def test_of_a_prior_the_rest_is_what_anyone_takes(explained):
    name, recommender = explained
    if name not in {"mean of the last two", "attention"}:
        pytest.skip("without a prior, or shared out as drops")
    recent = torch.tensor([[recommender.pool.row("heat"), recommender.pool.row("alien")]])
    user, item = recommender.user_vectors(recent)[0], recommender.vectors[recommender.pool.row("fargo")]
    n = recommender.module.loss.similarity.windows + 1
    popular, boost = float(user[-n:-1] @ item[-n:-1]), 0.5 * 0.05  # nobody met fargo in training: it is boosted as new
    assert recommender.explain(["heat", "alien"], "fargo").rest == pytest.approx(popular + boost, abs=1e-6)


def test_the_file_names_the_weightiest_items_behind_the_columns_of_every_file(explained, tmp_path):
    _, recommender = explained
    histories = HISTORIES | {"new": []}
    plain = recommender.recommend(histories, k=2).table
    found = recommender.recommend(histories, k=2, explain="words").table
    assert found.column_names == [
        *plain.column_names, "because", "because_scores", "others_score", "rest_score", "words", "word_scores",
    ]  # fmt: skip
    assert found.select(plain.column_names).equals(plain)
    for row in found.to_pylist():
        total = sum(row["because_scores"]) + row["others_score"] + row["rest_score"]
        assert total == pytest.approx(row["score"], abs=2e-5)
        assert row["because_scores"] == sorted(row["because_scores"], reverse=True)
        assert set(row["because"]) <= set(histories[row["user_id"]])
        assert bool(row["words"]) == (row["user_id"] != "new")
    for name in ("why.csv", "why.parquet"):
        explaining = Explaining(recommender, words=True)
        write(recommender.stream(recommender.prepare(histories), k=2, explaining=explaining), tmp_path / name)
    assert pq.read_table(tmp_path / "why.parquet").equals(found)
    with open(tmp_path / "why.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["because"]) for row in rows] == found["because"].to_pylist()
    for row, told in zip(rows, found["because_scores"].to_pylist(), strict=True):
        assert json.loads(row["because_scores"]) == pytest.approx(told, abs=1e-6)


def test_users_in_small_parts_are_told_the_same(explained, monkeypatch):
    _, recommender = explained
    whole = recommender.recommend(HISTORIES, k=5, explain=True).table.to_pylist()
    for name in ("_USERS_AT_ONCE", "_HISTORIES_AT_ONCE"):
        monkeypatch.setattr(f"recall_lightning.retrieval.explaining.{name}", 2)
    parts = recommender.recommend(HISTORIES, k=5, explain=True).table.to_pylist()
    for one, other in zip(whole, parts, strict=True):
        assert one["because"] == other["because"]
        assert one["because_scores"] == pytest.approx(other["because_scores"], abs=1e-6)


def test_a_words_weight_is_the_gradient_times_its_pieces_embeddings(explained):
    _, recommender = explained
    model = recommender.module.model
    why = recommender.explain(["alien", "brazil"], "heat", words=True)
    assert sorted(word for word, _ in why.words) == ["1995", "Action", "Crime", "Heat"]  # not the signs between them
    weights = [abs(weight) for _, weight in why.words]
    assert weights == sorted(weights, reverse=True)
    row = recommender.pool.row("heat")
    user = recommender.user_vectors(torch.tensor([[recommender.pool.row(item) for item in ("alien", "brazil")]]))
    spelt = recommender.tokens.batch(torch.tensor([row]).numpy())
    at = model.known_rows(recommender.in_training(torch.tensor([row])))
    pieces = model.encoder.model.get_input_embeddings()(spelt.ids).detach()

    @torch.inference_mode()
    def score(scale):  # of the four letters of `Heat`, which stand behind [CLS]
        scaled = pieces.double().clone()
        scaled[:, 1:5] *= scale
        words = None
        if model.words is not None:
            parts = model.words.of_tokens(spelt.ids, spelt.mask)
            parts[:, 1:5] *= scale
            words = parts.sum(1)
        item = model.item_tower(model.encoder.of_embeddings(scaled.float(), spelt.mask), at, words)
        return float(recommender.module.loss.similarity.pairs(user, item))

    slope = (score(1.01) - score(0.99)) / 0.02  # d s / d scale = sum over the pieces of x . ds/dx
    assert dict(why.words)["Heat"] == pytest.approx(slope, rel=0.02, abs=2e-4)


def test_what_is_in_no_catalogue_can_not_be_explained(explained):
    _, recommender = explained
    with pytest.raises(InputError, match="item 'ghost' is in no catalogue"):
        recommender.explain(["heat"], "ghost")
    with pytest.raises(InputError, match="no item of the history is in a catalogue"):
        recommender.explain(["ghost"], "heat")


def test_where_nothing_is_recommended_there_are_no_words_to_weigh(explained):
    _, recommender = explained
    assert recommender.recommend({"zoe": ["heat"]}, k=2, threshold=1e6, explain="words").table.num_rows == 0
