"""`recommend` at scale: a million generated items, a user with ten thousand interactions, and ids of every kind.

    python scripts/bench_scale.py [--items 1000000] [--history 10000]

Makes tables of generated items and histories, trains a BERT of two narrow layers on the first thousand of them for one
step (its quality is of no matter here), and runs `recommend --items` over all. Prints time and the peak memory of the
largest process, and checks that every id came through to the file as it was, and that everyone got what they must.
"""

import argparse
import csv
import resource
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

ODD = ["007", "7", "a,b", 'say "hi"', "two\nlines", "🎬 ночь", " space ", "NULL", "1e5", "'=1+1'"]
K = 50


def main() -> None:
    """Make the data, run the commands, check the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--history", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = [*ODD, *(f"item {i}" for i in range(asked.items - len(ODD)))]
        encoder(folder / "encoder")
        table(folder / "few.csv", ["item_id", "title"], ([i, f"thing {n}"] for n, i in enumerate(ids[:1000])))
        table(folder / "all.csv", ["item_id", "title"], ([i, f"thing {n}"] for n, i in enumerate(ids)))
        table(
            folder / "train.csv", ["user_id", "item_id"],
            ([f"u{u}", ids[(u * 37 + n * 11) % 1000]] for u in range(200) for n in range(8)),
        )  # fmt: skip
        long = [[ODD[3], item] for item in ids[-asked.history :]]
        short = [[user, ODD[(n + step) % len(ODD)]] for n, user in enumerate(ODD) if n != 3 for step in range(3)]
        table(folder / "histories.csv", ["user_id", "item_id"], [*long, *short])
        run(
            folder, "fit", "--trainer.max_epochs", "1", "--trainer.logger", "false", "--trainer.accelerator", "cpu",
            "--trainer.default_root_dir", ".", "--data.reader", "recall_lightning.Tabular",
            "--data.reader.interactions", "train.csv", "--data.reader.items", "few.csv", "--data.text", "{title}",
            "--model.encoder.path", "./encoder", "--data.cache_dir", "cache", "--checkpoint.dirpath", ".",
            "--data.batch_size", "200",
        )  # fmt: skip
        started = time.perf_counter()
        run(
            folder, "recommend", "--ckpt", "best.ckpt", "--histories", "histories.csv", "--items", "all.csv",
            "--out", "out.parquet", "--k", str(K),
        )  # fmt: skip
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest: the training's, if that is it
        seconds = time.perf_counter() - started
        check(folder, set(ids), {item for _, item in long})
        print(
            f"{asked.items:,} items, a history of {asked.history:,}: {seconds:.0f} s (encoding included), "
            f"peak {peak / 2**20:.2f} GiB; {len(ODD)} users, ids intact"
        )


def check(folder: Path, ids: set[str], long: set[str]) -> None:
    """Refuse a file in which an id is none of ours, a user lacks a row, or a known item is recommended."""
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    users: dict[str, list[str]] = {}
    for row in rows:
        users.setdefault(row["user_id"], []).append(row["item_id"])
    assert set(users) == set(ODD), set(ODD) ^ set(users)
    for user, items in users.items():
        assert len(set(items)) == K, (user, len(items))
        assert set(items) <= ids
    assert not long & set(users[ODD[3]])


def encoder(folder: Path) -> None:
    """A BERT of two layers, 32 wide, with random weights, that spells words letter by letter."""
    folder.mkdir()
    letters = list(string.ascii_lowercase + string.digits)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def table(path: Path, header: list[str], rows: object) -> None:
    """Write a CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)  # type: ignore[arg-type]


def run(folder: Path, *arguments: str) -> None:
    """Run the program in a folder."""
    subprocess.run([sys.executable, "-m", "recall_lightning", *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
