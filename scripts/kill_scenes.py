"""What is killed: every command of the program that writes, on small generated data and a tiny encoder."""

import hashlib
import io
import os
import random
import shutil
import signal
import string
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from killing import Act

from recall_lightning.cli.main import main

ITEMS = [f"{kind} {n}" for kind in ("lamp", "desk", "pen") for n in range(5)]
LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Scene:
    """A command in its folder.

    Attributes:
        name: of the command.
        act: runs it, in the current folder.
        again: runs it on what a killed run left; `act` where it is the same.
        before: what has to have been done in the folder.
        repeats: whether it does the same each time; not where it goes by the clock, or goes on with a search.
    """

    name: str
    act: Act
    again: Act | None = None
    before: Act | None = None
    repeats: bool = True


def command(*given: str) -> Act:
    return partial(main, given)


def fit(*given: str) -> tuple[Act, Act]:
    """A run, and how one goes on that was killed."""

    def again() -> None:
        last = sorted(Path.cwd().rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)
        main(["fit", *given, *(["--ckpt_path", str(last[-1])] if last else [])])

    return command("fit", *given), again


def scenes() -> list[Scene]:
    """Every command that writes."""
    base, meta = ["--config", "base.yaml"], ["--config", "meta.yaml"]
    kept, adapted = ["--ckpt", "base.ckpt"], ["--ckpt", "meta.ckpt"]
    asked = ["recommend", *kept, "--histories", "interactions.csv", "--k", "3"]
    exported = partial(command, "export", *kept, "--to", "exported", "--format")
    formats = ["embeddings", "faiss", "onnx", "sentence-transformers"]
    few = ["--models", "popularity,item-knn"]
    return [
        Scene("fit", *fit(*base)),
        Scene("fit, one folder", *fit(*base, "--checkpoint.dirpath", "kept", "--trainer.logger", "false")),
        Scene("fit, method maml", *fit(*meta)),
        Scene("fit, method pretrain", *fit("--config", "pretrain.yaml")),
        Scene(
            "fit --auto.minutes",
            command("fit", *base, "--auto.minutes", "0.02", "--checkpoint.dirpath", "kept"),
            repeats=False,
        ),
        Scene("validate", command("validate", *base, "--ckpt_path", "base.ckpt")),
        Scene("test", command("test", *base, "--ckpt_path", "base.ckpt")),
        Scene("predict", command("predict", *base, "--ckpt_path", "base.ckpt")),
        Scene("fetch", fetched),
        Scene("recommend, CSV", command(*asked, "--out", "out.csv", "--cache", "vectors")),
        Scene("recommend, Parquet", command(*asked, "--out", "out.parquet")),
        Scene("recommend over a former", command(*asked, "--out", "out.csv"), before=former_answer),
        Scene("similar", command("similar", *kept, "--text", "a lamp", "--cache", "vectors")),
        Scene("compare", command("compare", *base, *kept, *few, "--out", "comparison")),
        Scene("adapt", command("adapt", *adapted, *meta, *few, "--support", "1,2", "--out", "adaptation")),
        *(Scene(f"export, {name}", exported(name)) for name in formats),
        Scene("export beside others", exported("embeddings", "faiss"), before=exported("embeddings", "onnx")),
        Scene("serve", served),
        Scene("scripts/tune.py", tuned, repeats=False),
    ]


def former_answer() -> None:
    Path("out.csv").write_text("user_id,item_id,rank,score\nformer,0,1,0.5\n")


def fetched() -> None:
    """`fetch` from a publisher that is played here."""
    from recall_lightning.data import fetching, sources

    content = {name: (name * 50_000).encode() for name in ("ratings", "films")}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, data in content.items():
            zipped.writestr(f"toys/{name}", data)
    address, digest = "https://toys/toys.zip", hashlib.sha256(archive.getvalue()).hexdigest()
    known = sources.Known(
        "toys", (sources.PublishedZip(address, digest, "toys/", dict.fromkeys(content)),), page="https://toys/"
    )
    fetch = partial(fetching.fetch, open_url=lambda _: io.BytesIO(archive.getvalue()))
    with mock.patch.dict(sources.KNOWN, {"minilm": known}), mock.patch.object(fetching, "fetch", fetch):
        main(["fetch", "minilm"])


def served() -> None:
    """`serve`, with an item posted; then it is stopped, as one stops it."""
    from recall_lightning.serving import server

    def post(address: str) -> None:
        body = b'{"items": [{"item_id": "new", "text": "a lamp of another kind"}]}'
        asked = urllib.request.Request(f"{address}/items", body, {"Content-Type": "application/json"})
        try:
            while not answered(asked):
                time.sleep(0.01)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with server.bound("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=post, args=[address], daemon=True).start()
        with mock.patch.object(server, "bound", return_value=listener):
            main(["serve", "--ckpt", "base.ckpt", "--port", "0", "--cache", "vectors"])


def answered(request: urllib.request.Request) -> bool:
    """Whether a service is there, to answer."""
    try:
        with urllib.request.urlopen(request, timeout=30):
            return True
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        return False


def tuned() -> None:
    """A search, its trials in this process."""
    import subprocess

    import tune

    def in_here(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        with mock.patch.object(sys, "stdout", io.StringIO()):
            try:
                main(arguments)
            except SystemExit as ended:
                return subprocess.CompletedProcess(arguments, ended.code or 0, sys.stdout.getvalue(), "")
            return subprocess.CompletedProcess(arguments, 0, sys.stdout.getvalue(), "")

    with mock.patch.object(tune, "_program", in_here):
        tune.main(["--space", "space.yaml", "--study", "study.db", "--trials", "2", "--config", "base.yaml"])


# -- what the commands work on -----------------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Tables of forty users and fifteen items, a tiny encoder, and configs."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    draw = random.Random(0)
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{n},{title}\n" for n, title in enumerate(ITEMS)))
    lines = ["user_id,item_id"]
    for user in range(40):
        first = user % 3 * 5
        taken = [*draw.sample(range(first, first + 5), draw.randint(3, 5)), *draw.sample(range(15), 3)]
        lines += [f"u{user},{item}" for item in list(dict.fromkeys(taken))[: draw.randint(4, 7)]]
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    encoder = folder / "bert"
    encoder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *("##" + letter for letter in LETTERS)]
    (encoder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(encoder / "vocab.txt")).save_pretrained(encoder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(encoder)
    reader = {"class_path": "Tabular", "init_args": {"interactions": "interactions.csv", "items": "items.csv"}}
    data: dict[str, Any] = {"reader": reader, "text": "{title}", "cache_dir": "cache", "eval_batch_size": 5}
    cold = {"splits": {"name": "cold_users", "share": 0.2, "k": 1, "n_queries": 2, "window_from": 3}}
    trainer = {"accelerator": "cpu", "max_epochs": 3, "enable_progress_bar": False}
    frozen = {"encoder": {"path": "bert", "frozen_layers": -1}}
    episodes = {"eval_support": [1, 2], "episodes": {"max_support": 3, "n_queries": 2}, "batch_size": 16}
    towers = {"item_tower": {"class_path": "ItemTower", "init_args": {"residual": True}}}
    configs: dict[str, dict[str, Any]] = {
        "base": {"trainer": trainer, "data": data | cold | {"batch_size": 8}, "model": frozen | towers},
        "meta": {
            "method": "maml", "trainer": trainer, "data": data | cold | episodes,
            "model": frozen | towers | {"init_from": "base.ckpt", "inner_loop": {"steps": 2, "rate": 0.5}},
        },
        "pretrain": {
            "method": "pretrain", "trainer": trainer, "model": {"encoder": {"path": "bert"}},
            "data": data | {"validation_share": 0.3, "batch_size": 4},
        },
        "space": {"data.batch_size": {"choice": [8, 16]}},
    }  # fmt: skip
    for name, settings in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))


def train() -> None:
    """Make two checkpoints, by the program itself."""
    for name in ("base", "meta"):
        flags = ["--trainer.logger", "false", "--checkpoint.dirpath", name, "--data.cache_dir", "unused"]
        main(["fit", "--config", f"{name}.yaml", *flags])
        shutil.move(f"{name}/best.ckpt", f"{name}.ckpt")
        shutil.rmtree(name)
    shutil.rmtree("unused", ignore_errors=True)


def preload(encoder: Path) -> None:
    """Import what the commands do, and have the libraries warm up, so that no fork has to."""
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401
    import torch
    import tune  # noqa: F401

    import recall_lightning.callbacks.last as last
    import recall_lightning.cli.auto
    import recall_lightning.cli.trainer
    import recall_lightning.coldstart.outputs
    import recall_lightning.retrieval.export.folder
    import recall_lightning.serving.app
    import recall_lightning.serving.server  # noqa: F401
    from recall_lightning.pretrained import load_model

    torch.set_num_threads(1)  # a fork has none of its parent's other threads
    model = load_model(str(encoder))
    torch.optim.AdamW(model.parameters(), fused=True).step()
    last.MOST_OF_TIME = float("inf")  # epochs this short would leave out most of `last.ckpt`
