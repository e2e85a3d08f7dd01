"""`export --format sentence-transformers`: a folder whose `encode` gives the model's vectors of texts."""

import json

import pytest
import torch
from exports import TEXTS, exported, trained, vectors_of

from recall_lightning import Cosine, Dot, Euclidean, InputError, ItemTower

pytest.importorskip("sentence_transformers", reason="the extra `sentence-transformers` isn't installed")

PROJECTED = ItemTower(16, residual=True)


def encode(folder, texts):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return model, model.encode(texts, convert_to_tensor=True)


@pytest.mark.parametrize(
    ("similarity", "settings", "modules"),
    [
        (Cosine(), {}, ["Transformer", "Pooling", "Normalize"]),
        (Dot(), {"encoder_settings": {"pooling": "cls"}}, ["Transformer", "Pooling"]),
        (Cosine(), {"item_tower": PROJECTED}, ["Transformer", "Pooling", "Dense", "Normalize"]),
        (Dot(), {"item_tower": PROJECTED, "prior": True}, ["Transformer", "Pooling", "Dense"]),
        (Cosine(), {"prior": True}, ["Transformer", "Pooling", "Normalize"]),
        (Euclidean(), {"item_tower": PROJECTED}, ["Transformer", "Pooling", "Dense"]),
    ],
)
def test_encode_gives_the_vectors_of_items_that_training_does_not_know(
    typed, tiny_encoder, tmp_path, similarity, settings, modules
):
    recommender, told = exported(
        trained(typed, tiny_encoder, similarity=similarity, **settings), tmp_path / "out", "sentence-transformers"
    )
    model, vectors = encode(tmp_path / "out", TEXTS)
    assert [type(module).__name__ for module in model] == modules
    assert (model.max_seq_length, model.similarity_fn_name) == (40, type(similarity).__name__.lower())
    torch.testing.assert_close(vectors, expected(recommender, similarity), rtol=0, atol=1e-5)
    assert told == [f"sentence-transformers: {', '.join(modules)}; texts are cut at 40 tokens"]


def test_a_model_with_words_is_refused_with_what_to_do(typed, tiny_encoder, tmp_path):
    checkpoint = trained(typed, tiny_encoder, item_tower=ItemTower(16, words=2))
    with pytest.raises(InputError, match=r"item tower has words, .* Leave the format out \(onnx holds them\)"):
        exported(checkpoint, tmp_path / "out", "sentence-transformers")
    assert not (tmp_path / "out").exists()


def expected(recommender, similarity):
    own = recommender.module.model.without_prior(vectors_of(recommender, TEXTS))
    return torch.nn.functional.normalize(own) if isinstance(similarity, Cosine) else own


def test_adapters_are_merged_into_the_weights(typed, tiny_encoder, tmp_path):
    pytest.importorskip("peft", reason="the extra `lora` isn't installed")
    checkpoint = trained(typed, tiny_encoder, encoder_settings={"lora_rank": 2})
    recommender, _ = exported(checkpoint, tmp_path / "out", "sentence-transformers")
    model, vectors = encode(tmp_path / "out", TEXTS)
    assert not [name for name in model.state_dict() if "lora" in name]
    torch.testing.assert_close(vectors, expected(recommender, Cosine()), rtol=0, atol=1e-5)
    assert hasattr(recommender.module.model.encoder.model, "peft_config")  # the model itself stays as it is
    assert "adapters were trained, merged here" in (tmp_path / "out" / "README.md").read_text()


def test_it_loads_without_a_word_of_missing_weights_and_holds_safetensors_alone(typed, tiny_encoder, tmp_path, capfd):
    exported(trained(typed, tiny_encoder), tmp_path / "out", "sentence-transformers")
    capfd.readouterr()
    encode(tmp_path / "out", TEXTS)
    assert "MISSING" not in "".join(capfd.readouterr())
    weights = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.stat().st_size > 2**16)
    assert weights == ["model.safetensors"]


def test_the_card_tells_data_split_use_and_limits_and_no_path(typed, tiny_encoder, tmp_path):
    exported(trained(typed, tiny_encoder, prior=True), tmp_path / "out", "sentence-transformers")
    card = (tmp_path / "out" / "README.md").read_text()
    for told in [
        "library_name: sentence-transformers", "32 coordinates, compared by cosine", "cut at 40 tokens",
        "model.encode(['Heat (1995). Action, Crime'", "`{title} ({year}). {genres}`",
        "5 items with texts, 5 interactions in training", "Split: `leave_last_out`", "every layer was trained",
        "The checkpoint holds none.", "isn't here: residuals of single items, a prior of popularity.",
    ]:  # fmt: skip
        assert told in card
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix in {".json", ".md"}]
    assert len(files) > 5
    assert not [path for path in files if str(tmp_path.parent) in path.read_text() or "/tmp" in path.read_text()]


def test_the_card_shows_the_figures_of_a_checkpoint_that_holds_some(typed, tiny_encoder, tmp_path):
    checkpoint = trained(typed, tiny_encoder)
    stored = torch.load(checkpoint, weights_only=True)
    stored["callbacks"]["FinalMetrics"] = {
        "best": {"val/recall@10": 0.25, "val/ndcg@10": 0.125, "val/items@alpha": 9.0}
    }
    torch.save(stored, checkpoint)
    exported(checkpoint, tmp_path / "out", "sentence-transformers")
    assert "| recall@10 | ndcg@10 |\n|---|---|\n| 0.2500 | 0.1250 |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.network
def test_the_real_minilm_comes_through(typed, minilm, tmp_path):
    checkpoint = trained(typed, minilm, encoder_settings={"frozen_layers": -1}, item_tower=ItemTower(64))
    recommender, _ = exported(checkpoint, tmp_path / "out", "sentence-transformers")
    _, vectors = encode(tmp_path / "out", TEXTS)
    torch.testing.assert_close(vectors, expected(recommender, Cosine()), rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "out" / "export.json").read_text())["formats"] == ["sentence-transformers"]
    assert "nothing was trained: it is as it came" in (tmp_path / "out" / "README.md").read_text()
