"""Positives a second of end-to-end fine-tuning, one core: the article's way, sentence-transformers' trainer, and ours.

    python scripts/bench_train.py --config configs/movielens-1m.yaml [--repeats 3] [--only NAME ...]
    python scripts/bench_train.py --config configs/movielens-1m.yaml --curves 2 --plot curves.png
    python scripts/bench_train.py --config configs/movielens-100k.yaml --converge 3 --data.min_users 20

The alternatives take turns, each for a few steps, and again; rates are medians over the turns, of processor time. A
positive is an item that came next and the user's last ten items before it. "floor" is what the matrix products of the
real tokens would take at the measured rate of the precision: 6 x parameters without embeddings x tokens. With --curves
each trains for so many minutes (of processor time, evaluation left out), and validation Recall@10 is drawn over them.
With --converge what saves time is trained for as many epochs as all of it in float32, and validated after each.
The program's own flags are passed on: `--data.reader.init_args.path ... --model.encoder.path ...`. It needs
`pip install 'recall-lightning[bench]'`.
"""

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from train_alternatives import HISTORY_TOKENS, LAST, Article, Ours, SentenceTransformers, Steps
from train_curves import converge, draw, learn

from recall_lightning.cli.products import fast_products
from recall_lightning.cli.trainer import data_of
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.pretrained import load_model

ENCODED = 128  # items a step with gradient, where the others come from the cache
TEXT = {"history_tokens": HISTORY_TOKENS}
HALF = {"precision": "bf16"}
PACKED = {"attention": "packed"}
CACHED = {"max_encoded_items": ENCODED}
TOP = {"frozen_layers": 4}
LAST_ALONE = {"every_position": False}


def alternatives(data: RecallDataModule) -> dict[str, tuple[str, int, Callable[[], Any]]]:
    """By name: the table, the steps of a turn, and what makes it."""

    def ours(**changes: Any) -> Callable[[], Ours]:
        return lambda: Ours(data, **changes)

    def theirs(precision: str) -> Callable[[], SentenceTransformers]:
        return lambda: SentenceTransformers(Ours(data, **TEXT).data, precision=precision)

    return {
        "article": ("histories", 1, lambda: Article(data)),
        "article, batches padded to their longest": ("histories", 1, lambda: Article(data, padded=False)),
        "ours, distinct items once": ("histories", 2, ours(**LAST_ALONE, buckets=False)),
        "+ length buckets": ("histories", 2, ours(**LAST_ALONE)),
        "+ packed": ("histories", 2, ours(**LAST_ALONE, **PACKED)),
        "+ bf16": ("histories", 4, ours(**LAST_ALONE, **PACKED, **HALF)),
        "+ cache": ("histories", 8, ours(**LAST_ALONE, **PACKED, **HALF, **CACHED)),
        "+ every position a target": ("histories", 8, ours(**PACKED, **HALF, **CACHED)),
        "+ histories of 50": ("histories", 8, ours(**PACKED, **HALF, **CACHED, max_history=50)),
        "+ top two layers alone": ("histories", 8, ours(**PACKED, **HALF, **CACHED, **TOP, max_history=50)),
        "all layers, in float32": ("histories", 4, ours(**PACKED, **CACHED, max_history=50)),
        "sentence-transformers": ("pairs", 2, theirs("float32")),
        "sentence-transformers, bf16": ("pairs", 2, theirs("bf16")),
        "ours on pairs, dropout as theirs": ("pairs", 2, ours(**TEXT, **PACKED, dropout=None)),
        "ours on pairs, dropout as theirs, bf16": ("pairs", 3, ours(**TEXT, **PACKED, **HALF, dropout=None)),
        "ours on pairs": ("pairs", 2, ours(**TEXT, **PACKED)),
        "ours on pairs, bf16": ("pairs", 3, ours(**TEXT, **PACKED, **HALF)),
    }


def main() -> None:
    """Measure and print, or train and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help="what the names of some begin with")
    parser.add_argument("--curves", type=float, default=None, metavar="MINUTES")
    parser.add_argument("--converge", type=int, default=None, metavar="EPOCHS")
    parser.add_argument("--cases", type=int, default=1000, help="of validation, that --curves asks about")
    parser.add_argument("--plot", type=Path, default=Path("train.png"))
    asked, given = parser.parse_known_args()
    if not given:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    fast_products()
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "recall_lightning", "transformers", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    data = data_of([], [*given, "--data.max_history", str(LAST), "--data.batch_size", "64"], quiet=True)
    data.setup()
    if asked.curves is not None:
        draw(learn(data, 60 * asked.curves, asked.cases, asked.only), asked.plot)
        return
    if asked.converge is not None:
        converge(data, asked.converge)
        return
    made = alternatives(data)
    names = [name for name in made if asked.only is None or any(name.startswith(part) for part in asked.only)]
    table(data, {name: made[name] for name in names}, asked.repeats)


def table(data: RecallDataModule, chosen: dict[str, tuple[str, int, Callable[[], Any]]], repeats: int) -> None:
    """Measure in turn, and print a line for each."""
    floors = {name: product_rate(kind) for name, kind in (("float32", torch.float32), ("bf16", torch.bfloat16))}
    weights = sum(
        p.numel()
        for name, p in load_model(data.encoder).named_parameters()
        if "embeddings" not in name and "pooler" not in name
    )
    print(
        f"{processor()}, one core; products {', '.join(f'{n} {r / 1e9:,.0f} GFLOP/s' for n, r in floors.items())}; "
        f"{weights / 1e6:.1f} M parameters without embeddings; {repeats} repeats in turn\n"
    )
    trained = {name: make() for name, (_, _, make) in chosen.items()}
    turns: dict[str, list[Steps]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, (_, steps, _) in chosen.items():
            turns[name].append(trained[name].run(steps))
            print(f"{name}: {turns[name][-1].rate:.2f}", file=sys.stderr, flush=True)
    rates = {name: statistics.median(turn.rate for turn in made) for name, made in turns.items()}
    bases = [name for name in ("article", "sentence-transformers", "sentence-transformers, bf16") if name in rates]
    heads = "".join(f"{'/ ' + base:>31}" for base in bases)
    print(f"{'':<42}{'positives/s':>12}{'from':>8}{'to':>8}{'tokens/s':>10}{'of floor':>9}{heads}")
    for name, made in turns.items():
        speeds = [turn.rate for turn in made]
        tokens = statistics.median(sum(turn.tokens) / sum(turn.seconds) for turn in made)
        share = 6 * weights * tokens / floors[trained[name].precision]
        ratios = "".join(f"{rates[name] / rates[base]:>31.2f}" for base in bases)
        print(
            f"{name:<42}{rates[name]:>12,.2f}{min(speeds):>8,.1f}{max(speeds):>8,.1f}{tokens:>10,.0f}{share:>9.0%}{ratios}",
            flush=True,
        )


def product_rate(kind: torch.dtype) -> float:
    """Floating-point operations a second of a matrix product, the best of several."""
    left, right = torch.randn(1536, 768).to(kind), torch.randn(768, 1536).to(kind)
    taken = []
    for _ in range(30):
        started = time.process_time()
        left @ right
        taken.append(time.process_time() - started)
    return 2 * left.shape[0] * left.shape[1] * right.shape[1] / statistics.median(taken)


def processor() -> str:
    """The CPU's name (Linux)."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
