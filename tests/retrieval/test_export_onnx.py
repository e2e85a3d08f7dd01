"""`export --format onnx`: towers that any runtime of ONNX can run, for any number of texts, users and items."""

import importlib.util
from functools import cache

import numpy as np
import pytest
import torch
from exports import TEXTS, exported, trained, users_of, vectors_of
from transformers import BertModel

from recall_lightning import (
    AttentionTower,
    Dot,
    Euclidean,
    InputError,
    ItemTower,
    MeanTower,
    TextTower,
    TransformerTower,
)
from recall_lightning.pretrained import load_tokenizer
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


MODELS = {
    "cosine": {"tower": TransformerTower(1, 2), "item_tower": ItemTower(16, residual=True, words=2), "prior": True},
    "euclidean": {"similarity": Euclidean(), "tower": AttentionTower(), "encoder_settings": {"pooling": "cls"}},
    "dot": {"similarity": Dot(), "tower": MeanTower(last=2), "prior": True},
    "text": {
        "tower": TextTower(), "item_tower": ItemTower(), "data": {"history_tokens": 64},
        "encoder_settings": {"lora_rank": 2} if importlib.util.find_spec("peft") else {},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def shallow_encoder(tiny_encoder, tmp_path_factory):
    """The tiny encoder's lowest layer alone: each takes seconds to be traced; MiniLM below has six."""
    folder = tmp_path_factory.mktemp("shallow-bert")
    BertModel.from_pretrained(tiny_encoder, num_hidden_layers=1).save_pretrained(folder)
    load_tokenizer(str(tiny_encoder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def export_of(shallow_encoder, write_typed, tmp_path_factory):
    """Gives the recommender of a model above, the folder of its export, and what was told; each is exported once."""

    @cache
    def of(name):
        folder = write_typed(tmp_path_factory.mktemp(name))
        recommender, told = exported(trained(folder, shallow_encoder, **MODELS[name]), folder / "out", "onnx")
        return recommender, folder / "out", told

    return of


@pytest.mark.parametrize("name", ["cosine", "euclidean", "dot"])
def test_the_graphs_give_the_models_vectors(export_of, name):
    recommender, folder, told = export_of(name)
    similarity = recommender.module.loss.similarity
    for texts in (TEXTS, TEXTS[1:2]):
        items, own = encode(recommender, folder, texts), vectors_of(recommender, texts)
        close(items["item_vector"], own)
        close(items["ranking_vector"], items_to_rank(similarity, own))
    users = describe(recommender, folder, ["alien"], ["heat", "007", "brazil"])
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


def test_an_encoder_with_adapters_is_written_with_them_merged(export_of):
    pytest.importorskip("peft", reason="the extra `lora` isn't installed")
    recommender, folder, _ = export_of("text")
    assert hasattr(recommender.module.model.encoder.model, "peft_config")
    close(encode(recommender, folder, TEXTS)["item_vector"], vectors_of(recommender, TEXTS))


def test_the_item_graph_holds_nothing_of_single_items_and_no_path_of_this_machine(export_of):
    _, folder, _ = export_of("cosine")  # five residuals and five rows of popularity
    graph = onnx.load(folder / "item_encoder.onnx").graph
    assert not [weight.name for weight in graph.initializer if list(weight.dims)[:1] == [5]]
    for path in folder.glob("*.onnx"):
        assert b"site-packages" not in path.read_bytes()
        assert str(graphs.__file__).encode() not in path.read_bytes()
    assert sorted(path.name for path in folder.glob("*.onnx*")) == ["item_encoder.onnx", "user_tower.onnx"]


def test_a_tower_that_reads_text_has_no_graph_of_its_own(export_of):
    _, folder, told = export_of("text")
    assert (folder / "item_encoder.onnx").is_file()
    assert not (folder / "user_tower.onnx").exists()
    assert told[0].startswith("onnx: item_encoder.onnx alone: this model's user tower is the encoder")


class Wrong(torch.nn.Module):
    """A graph of items that is traced as it should be, and checked against something else."""

    def forward(self, ids, mask):
        items = (ids * mask).float()
        return (items, items) if torch.compiler.is_exporting() else (items + 2e-3 * items.abs().max(), items)


def test_a_graph_that_gives_other_numbers_is_told_and_not_kept(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "ItemGraph", lambda recommender: Wrong())
    with pytest.raises(
        InputError, match=r"item_encoder\.onnx gives other vectors in ONNX Runtime than the model in torch, by"
    ):
        exported(checkpoint, tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
