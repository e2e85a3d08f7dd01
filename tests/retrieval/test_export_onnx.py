"""`export --format onnx`: towers that any runtime of ONNX can run, for any number of texts, users and items."""

import numpy as np
import pytest
import torch
from exports import TEXTS, exported, trained, users_of, vectors_of

from recall_lightning import (
    AttentionTower,
    Cosine,
    Dot,
    Euclidean,
    InputError,
    ItemTower,
    MeanTower,
    TextTower,
    TransformerTower,
)
from recall_lightning.retrieval.export import graphs
from recall_lightning.retrieval.export.ranking import items_to_rank, users_to_rank

pytest.importorskip("onnxscript", reason="the extra `export` isn't installed")
onnx = pytest.importorskip("onnx", reason="the extra `export` isn't installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` isn't installed")


def run(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, (torch.from_numpy(out) for out in session.run(None, inputs)), strict=True))


def encode(recommender, folder, texts):
    tokens = recommender.background.tokenizer(texts, truncation=True, max_length=40, padding=True, return_tensors="np")
    return run(
        folder / "item_encoder.onnx", input_ids=tokens["input_ids"].astype(np.int64),
        attention_mask=tokens["attention_mask"].astype(np.int64),
    )  # fmt: skip


def describe(recommender, folder, *histories):
    """The users of histories, padded at the left."""
    length = max(len(history) for history in histories)
    rows = torch.tensor([[-1] * (length - len(h)) + [recommender.pool.row(i) for i in h] for h in histories])
    vectors = recommender.vectors[rows.clamp(min=0)].numpy()  # the padding's, too: the mask tells them
    return run(folder / "user_tower.onnx", item_vectors=vectors, mask=(rows >= 0).numpy())


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("similarity", "settings"),
    [
        (Cosine(), {"tower": TransformerTower(1, 2), "item_tower": ItemTower(16, residual=True), "prior": True}),
        (Euclidean(), {"tower": AttentionTower(), "encoder_settings": {"pooling": "cls"}}),
        (Dot(), {"tower": MeanTower(last=2), "prior": True}),
    ],
)
def test_the_graphs_give_the_models_vectors(typed, tiny_encoder, tmp_path, similarity, settings):
    checkpoint = trained(typed, tiny_encoder, similarity=similarity, **settings)
    recommender, told = exported(checkpoint, tmp_path / "out", "onnx")
    similarity = recommender.module.loss.similarity
    for texts in (TEXTS, TEXTS[1:2]):
        items, own = encode(recommender, tmp_path / "out", texts), vectors_of(recommender, texts)
        close(items["item_vector"], own)
        close(items["ranking_vector"], items_to_rank(similarity, own))
    users = describe(recommender, tmp_path / "out", ["alien"], ["heat", "007", "brazil"])
    own = torch.cat([users_of(recommender, ["alien"]), users_of(recommender, ["heat", "007", "brazil"])])
    close(users["user_vector"], own)
    close(users["ranking_vector"], users_to_rank(similarity, own))
    assert told == ["onnx: item_encoder.onnx and user_tower.onnx, checked by ONNX Runtime"]


@pytest.mark.network
def test_the_real_minilm_gives_the_same_vectors(typed, minilm, tmp_path):
    checkpoint = trained(typed, minilm, encoder_settings={"frozen_layers": -1}, item_tower=ItemTower(64), prior=True)
    recommender, _ = exported(checkpoint, tmp_path / "out", "onnx")
    close(encode(recommender, tmp_path / "out", TEXTS)["item_vector"], vectors_of(recommender, TEXTS))
    users = describe(recommender, tmp_path / "out", ["heat", "007", "brazil"])["user_vector"]
    close(users, users_of(recommender, ["heat", "007", "brazil"]))


def test_an_encoder_with_adapters_is_written_with_them_merged(typed, tiny_encoder, tmp_path):
    pytest.importorskip("peft", reason="the extra `lora` isn't installed")
    checkpoint = trained(typed, tiny_encoder, encoder_settings={"lora_rank": 2})
    recommender, _ = exported(checkpoint, tmp_path / "out", "onnx")
    close(encode(recommender, tmp_path / "out", TEXTS)["item_vector"], vectors_of(recommender, TEXTS))


def test_the_item_graph_holds_nothing_of_single_items_and_no_path_of_this_machine(typed, tiny_encoder, tmp_path):
    checkpoint = trained(typed, tiny_encoder, prior=True)  # five residuals and five rows of popularity
    exported(checkpoint, tmp_path / "out", "onnx")
    graph = onnx.load(tmp_path / "out" / "item_encoder.onnx").graph
    assert not [weight.name for weight in graph.initializer if list(weight.dims)[:1] == [5]]
    for path in (tmp_path / "out").glob("*.onnx"):
        assert b"site-packages" not in path.read_bytes()
        assert str(graphs.__file__).encode() not in path.read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.onnx*")) == ["item_encoder.onnx", "user_tower.onnx"]


def test_a_tower_that_reads_text_has_no_graph_of_its_own(typed, tiny_encoder, tmp_path):
    checkpoint = trained(typed, tiny_encoder, TextTower(), item_tower=ItemTower(), data={"history_tokens": 64})
    _, told = exported(checkpoint, tmp_path / "out", "onnx")
    assert (tmp_path / "out" / "item_encoder.onnx").is_file()
    assert not (tmp_path / "out" / "user_tower.onnx").exists()
    assert told[0].startswith("onnx: item_encoder.onnx alone: this model's user tower is the encoder")


def test_a_graph_that_gives_other_numbers_is_told_and_not_kept(typed, tiny_encoder, tmp_path, monkeypatch):
    checkpoint = trained(typed, tiny_encoder)
    forward = graphs.ItemGraph.forward

    def wrong(graph, ids, mask):  # traced as it should be, checked against something else
        items, vectors = forward(graph, ids, mask)
        return (items, vectors) if torch.compiler.is_exporting() else (items + 2e-3 * items.abs().max(), vectors)

    monkeypatch.setattr(graphs.ItemGraph, "forward", wrong)
    with pytest.raises(
        InputError, match=r"item_encoder\.onnx gives other vectors in ONNX Runtime than the model in torch, by"
    ):
        exported(checkpoint, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
