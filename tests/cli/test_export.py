"""`export`: one folder, several formats, written whole or not at all."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from recall_lightning import Recommender
from recall_lightning.cli import export as command
from recall_lightning.cli.main import main
from recall_lightning.retrieval.export import folder as exports


def fit(config, *flags):
    main(["fit", "--config", str(config), *flags])


@pytest.fixture(scope="module")
def config(tiny_encoder, write_typed, tmp_path_factory):
    """The config of a user's own two tables, with enough users to meta-train on."""
    folder = write_typed(tmp_path_factory.mktemp("trained"))
    items = ["heat", "alien", "brazil", "fargo", "007"]
    rows = [f"u{user},{items[(user * 3 + step) % 5]},{step}" for user in range(40) for step in range(4)]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    tables = {name: str(folder / f"{name}.csv") for name in ("interactions", "items")}
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(folder)},
        "data": {
            "reader": {"class_path": "recall_lightning.Tabular", "init_args": tables},
            "text": "{title} ({year}). {genres}",
        },
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def checkpoint(config):
    fit(config, "--checkpoint.dirpath", str(config.parent / "kept"))
    return config.parent / "kept" / "best.ckpt"


@pytest.fixture(scope="module")
def other_checkpoint(config):
    fit(config, "--checkpoint.dirpath", str(config.parent / "other"), "--seed_everything", "5")
    return config.parent / "other" / "best.ckpt"


def export(checkpoint, folder, *flags):
    main(["export", "--ckpt", str(checkpoint), "--to", str(folder), *flags])


def refusal(capsys, *arguments):
    """The one line on stderr of an export that ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        export(*arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def contents(folder):
    return json.loads((folder / "export.json").read_text())["formats"]


HISTORY = {"zoe": ["alien", "heat"]}


def served(folder, history):
    """The three best new items of a user, by what a folder holds alone."""
    import faiss
    import onnxruntime

    ids = json.loads((folder / "ids.json").read_text())
    vectors = load_file(folder / "embeddings.safetensors")["item_vectors"][[ids.index(item) for item in history]]
    tower = onnxruntime.InferenceSession(str(folder / "user_tower.onnx"))
    inputs = {"item_vectors": vectors[None].numpy(), "mask": np.ones((1, len(history)), bool)}
    (user,) = tower.run(["ranking_vector"], inputs)
    _, rows = faiss.read_index(str(folder / "index.faiss")).search(user, len(ids))
    return [ids[row] for row in rows[0] if ids[row] not in history]


def test_every_format_can_be_written_into_one_folder_that_all_may_read(checkpoint, tmp_path, capsys):
    for library in ("onnxscript", "onnxruntime", "faiss"):
        pytest.importorskip(library, reason="an extra isn't installed")
    out = tmp_path / "made" / "out"
    export(checkpoint, out, "--format", "embeddings,faiss", "onnx", "--format", "sentence-transformers")
    assert contents(out) == list(command.FORMATS)
    for name in [
        "embeddings.safetensors", "embeddings.parquet", "ids.json", "index.faiss", "item_encoder.onnx",
        "user_tower.onnx", "modules.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json", "README.md",
    ]:  # fmt: skip
        assert (out / name).is_file()
        assert (out / name).stat().st_mode & 0o777 == 0o644
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "embeddings",
        "faiss",
        "onnx",
        "sentence-transformers",
        f"written to {out}",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    recommender = Recommender.from_checkpoint(checkpoint, device="cpu")
    assert served(out, ["alien", "heat"]) == [item for item, _ in recommender.recommend(HISTORY, k=3).of("zoe")]


def test_the_commands_formats_are_those_that_can_be_written():
    assert list(command.FORMATS) == list(exports.FORMATS)


def test_a_format_comes_beside_an_earlier_one_of_the_same_model(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "out", "--format", "embeddings")
    before = (tmp_path / "out" / "embeddings.parquet").read_bytes()
    export(checkpoint, tmp_path / "out", "--format", "sentence-transformers")
    assert contents(tmp_path / "out") == ["embeddings", "sentence-transformers"]
    assert (tmp_path / "out" / "embeddings.parquet").read_bytes() == before
    assert (tmp_path / "out" / "modules.json").is_file()


def test_formats_of_two_models_do_not_stand_in_one_folder(checkpoint, other_checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    export(checkpoint, out, "--format", "embeddings")
    told = refusal(capsys, other_checkpoint, out, "--format", "sentence-transformers")
    assert f"--to {out}: it holds embeddings of another checkpoint or other items" in told
    assert "Add --format embeddings, or give another folder" in told
    before = (out / "embeddings.safetensors").read_bytes()
    export(other_checkpoint, out, "--format", "embeddings")
    assert (out / "embeddings.safetensors").read_bytes() != before


def test_equal_inputs_give_equal_bytes(checkpoint, tmp_path):
    for name in ("one", "two"):
        export(checkpoint, tmp_path / name, "--format", "embeddings", "sentence-transformers")
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [(tmp_path / "one" / f).read_bytes() for f in files] == [(tmp_path / "two" / f).read_bytes() for f in files]


@pytest.mark.parametrize("error", [RuntimeError("the disk is full"), KeyboardInterrupt()])
def test_a_run_that_is_stopped_half_way_leaves_what_was_there(checkpoint, tmp_path, monkeypatch, error):
    def stopped(recommender, made, tell):
        (made / "modules.json").write_text("half of it")
        raise error

    monkeypatch.setitem(exports.FORMATS, "sentence-transformers", stopped)
    with pytest.raises(type(error)):
        export(checkpoint, tmp_path / "out", "--format", "embeddings", "sentence-transformers")
    assert not list(tmp_path.iterdir())
    export(checkpoint, tmp_path / "out", "--format", "embeddings")
    with pytest.raises(type(error)):
        export(checkpoint, tmp_path / "out", "--format", "embeddings", "sentence-transformers")
    assert contents(tmp_path / "out") == ["embeddings"]
    assert not (tmp_path / "out" / "modules.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_new_items_are_described_by_a_file(checkpoint, tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title,year,genres\n0077,Bio,1996,Comedy\nheat,Heat,1995,Action\n")
    export(checkpoint, tmp_path / "out", "--format", "embeddings", "--items", str(tmp_path / "items.csv"))
    assert json.loads((tmp_path / "out" / "ids.json").read_text()) == ["0077", "heat"]


def test_a_meta_trained_checkpoint_is_exported_as_it_is_before_it_adapts(config, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` isn't installed")
    pytest.importorskip("onnxscript", reason="the extra `export` isn't installed")
    fit(
        config, "--method", "maml", "--checkpoint.dirpath", str(tmp_path / "meta"), "--data.splits.share", "0.2",
        "--data.splits.k", "1", "--data.episodes.max_support", "3", "--data.eval_support", "[1,2]",
        "--model.optimizer.tower_lr", "0.1", "--model.fast_weights", "recall_lightning.LinearHead",
    )  # fmt: skip
    export(tmp_path / "meta" / "best.ckpt", tmp_path / "out", "--format", "onnx", "sentence-transformers")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Method: `maml`, exported as it is before it adapts" in card
    assert "until this checkpoint. Users were adapted to." in card
    recommender = Recommender.from_checkpoint(tmp_path / "meta" / "best.ckpt", device="cpu")
    rows = torch.tensor([[0, 2], [3, 4]])
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "user_tower.onnx"))
    inputs = {"item_vectors": recommender.vectors[rows].numpy(), "mask": (rows >= 0).numpy()}
    users = torch.from_numpy(session.run(None, inputs)[0])
    torch.testing.assert_close(users, recommender.user_vectors(rows), rtol=0, atol=1e-4)
    tower = recommender.module.model.users(recommender.vectors, rows)[:, -1]
    assert not torch.allclose(users, tower, atol=1e-3)  # meta-training moved the start


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--format", "csv"], "--format csv: no such format. Give one or several of embeddings, "),
        (["--format", "onnx", "--index", "hnsw"], "--index hnsw: only the format faiss has an index. Add --format"),
        (["--format", "embeddings"], "gone.ckpt: no such checkpoint"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_told_in_a_line(tmp_path, capsys, flags, told):
    assert told in refusal(capsys, "gone.ckpt", tmp_path / "out", *flags)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    told = refusal(capsys, "gone.ckpt", tmp_path, "--format", "embeddings")
    assert f"--to {tmp_path}: it holds what no export wrote. Give a new or empty folder" in told
    assert f"--to {tmp_path / 'thesis.tex'}: it holds" in refusal(
        capsys, "gone.ckpt", tmp_path / "thesis.tex", "--format", "embeddings"
    )
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("name", "library", "told"),
    [
        ("onnx", "onnxscript", "--format onnx needs onnxscript. Install it: pip install 'recall-lightning[export]'"),
        ("faiss", "faiss", "--format faiss needs faiss. Install it: pip install 'recall-lightning[index]'"),
    ],
)
def test_a_missing_library_is_told_with_its_cure_before_anything_is_loaded(
    tmp_path, capsys, monkeypatch, name, library, told
):
    monkeypatch.setattr(exports, "is_installed", lambda asked: asked != library)
    assert told in refusal(capsys, "gone.ckpt", tmp_path / "out", "--format", name)


def test_an_encoder_that_was_pretrained_alone_is_refused(config, tmp_path, capsys):
    fit(
        config, "--method", "pretrain", "--checkpoint.dirpath", str(tmp_path / "encoder"),
        "--data.validation_share", "0.4",
    )  # fmt: skip
    told = refusal(capsys, next((tmp_path / "encoder").glob("*.ckpt")), tmp_path / "out", "--format", "embeddings")
    assert "a pretrained encoder (method: pretrain), which can't rank items yet" in told
