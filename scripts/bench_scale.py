"""`recommend` at scale: a million generated items, a user with ten thousand interactions, and ids of every kind.

    python scripts/bench_scale.py [--items 1000000] [--history 10000]
    python scripts/bench_scale.py --items 100000 --history 1000 --users 100000 --width 384

Makes tables of generated items and histories, trains a BERT of two narrow layers on the first thousand of them for one
step (its quality is of no matter here), and runs `recommend --items` over all, on one core. Prints time and the peak
memory of the largest process, and checks that every id came through to the file as it was, and that everyone got
what they must. Users beside those with odd ids have ten items each. The rate of ranking is of the time that
`recommend` tells, reading of files and encoding left out, as a share of the rate of float32 products measured right
before and after.
"""

import argparse
import csv
import itertools
import os
import re
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
    parser.add_argument("--users", type=int, default=len(ODD), help="in all")
    parser.add_argument("--width", type=int, default=32, help="of the vectors")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = [*ODD, *(f"item {i}" for i in range(asked.items - len(ODD)))]
        encoder(folder / "encoder", asked.width)
        table(folder / "few.csv", ["item_id", "title"], ([i, f"thing {n}"] for n, i in enumerate(ids[:1000])))
        table(folder / "all.csv", ["item_id", "title"], ([i, f"thing {n}"] for n, i in enumerate(ids)))
        table(
            folder / "train.csv", ["user_id", "item_id"],
            ([f"u{u}", ids[(u * 37 + n * 11) % 1000]] for u in range(200) for n in range(8)),
        )  # fmt: skip
        long = [[ODD[3], item] for item in ids[-asked.history :]]
        short = [[user, ODD[(n + step) % len(ODD)]] for n, user in enumerate(ODD) if n != 3 for step in range(3)]
        more = (
            [f"u{u}", ids[(u * 7919 + n * 104_729) % len(ids)]]
            for u in range(asked.users - len(ODD))
            for n in range(10)
        )
        table(folder / "histories.csv", ["user_id", "item_id"], itertools.chain(long, short, more))
        run(
            folder, "fit", "--trainer.max_epochs", "1", "--trainer.logger", "false", "--trainer.accelerator", "cpu",
            "--trainer.default_root_dir", ".", "--data.reader", "recall_lightning.Tabular",
            "--data.reader.interactions", "train.csv", "--data.reader.items", "few.csv", "--data.text", "{title}",
            "--model.encoder.path", "./encoder", "--data.cache_dir", "cache", "--checkpoint.dirpath", ".",
            "--data.batch_size", "200",
        )  # fmt: skip
        best, started = rate(asked.width), time.perf_counter()
        told = run(
            folder, "recommend", "--ckpt", "best.ckpt", "--histories", "histories.csv", "--items", "all.csv",
            "--out", "out.parquet", "--k", str(K),
        )  # fmt: skip
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest: the training's, if that is it
        seconds = time.perf_counter() - started
        best = max(best, rate(asked.width))
        check(folder, set(ids), {item for _, item in long}, asked.users)
        print(
            f"{asked.items:,} items, a history of {asked.history:,}: {seconds:.0f} s (encoding included), "
            f"peak {peak / 2**20:.2f} GiB; {asked.users:,} users, ids intact"
        )
        (ranking,) = map(float, re.findall(r"users in ([\d.]+) s", told))
        reached = 2 * asked.width * asked.items * asked.users / 1e9 / max(ranking, 0.1)
        print(
            f"ranking, and writing it: {ranking:.1f} s, {asked.users / max(ranking, 0.1):,.0f} users a second, "
            f"{reached:.0f} GFLOP/s, {100 * reached / best:.0f}% of the {best:.0f} of float32 products"
        )


def check(folder: Path, ids: set[str], long: set[str], n_users: int) -> None:
    """Refuse a file in which an id is none of ours, a user lacks a row, or a known item is recommended."""
    users: dict[str, list[str]] = {}
    for batch in pq.ParquetFile(folder / "out.parquet").iter_batches(columns=["user_id", "item_id"]):
        for user, item in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            users.setdefault(user, []).append(item)
    assert set(ODD) <= set(users), set(ODD) - set(users)
    assert len(users) == n_users
    for user, items in users.items():
        assert len(set(items)) == K, (user, len(items))
        assert set(items) <= ids
    assert not long & set(users[ODD[3]])


def rate(width: int) -> float:
    """GFLOP/s of a float32 product on one core, the best of thirty."""
    torch.set_num_threads(1)
    left, right, out = torch.randn(1024, width), torch.randn(width, 4096), torch.empty(1024, 4096)
    times = []
    for _ in range(30):
        started = time.process_time()
        torch.mm(left, right, out=out)
        times.append(time.process_time() - started)
    return 2 * left.shape[0] * right.numel() / min(times) / 1e9


def encoder(folder: Path, width: int) -> None:
    """A BERT of two layers with random weights, that spells words letter by letter."""
    folder.mkdir()
    letters = list(string.ascii_lowercase + string.digits)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def table(path: Path, header: list[str], rows: object) -> None:
    """Write a CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)  # type: ignore[arg-type]


def run(folder: Path, *arguments: str) -> str:
    """Run the program in a folder, on one core; what it tells on stderr."""
    command, one = [sys.executable, "-m", "recall_lightning", *arguments], {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, check=True, env=one, stderr=subprocess.PIPE, text=True).stderr


if __name__ == "__main__":
    main()
