"""Exact top k beside faiss and torch, and an evaluation beside torchmetrics' and RecBole's, on one core.

    python scripts/bench_topk.py [--items 3700 100000 1000000] [--dim 384] [--users 1024] [--k 100]
    python scripts/bench_topk.py --evaluate --config configs/movielens-1m.yaml

The first ranks generated items of length 1 for generated users, in batches: by ours, by its sweep in float32 alone, by
faiss' `IndexFlatIP`, and by torch's product and `topk` over as many users as have 2**24 scores. The ways take turns,
and so does the measurement of the best rate of float32 products among some shapes; seconds are of the processor, which
other programs disturb less than the clock, and medians. Indexes are built before, ours in the time that is printed.
faiss multiplies by the OpenBLAS that its wheel brings: its kernel is told, and OPENBLAS_CORETYPE=Haswell, say, has it
take another.

The second ranks the real test users of a config's `leave_last_out` split by real vectors: those that the config's
encoder, untouched, gives the items' texts, and the mean of a user's last ten. Timed is all from the users' vectors to
recall, nDCG and MRR at 10 and 50. RecBole takes part where it can be imported (`recbole==1.2.1`), with the steps of its
`Trainer.evaluate`: a batch's scores, `Collector.eval_batch_collect`, `Evaluator.evaluate`. The program's own flags are
passed on: `--data.reader.init_args.path ... --model.encoder.path ...`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from threadpoolctl import threadpool_info
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import retrieval

from recall_lightning.baselines.text_vectors import text_vectors
from recall_lightning.cli.tables import print_table
from recall_lightning.cli.trainer import data_of
from recall_lightning.data.batches import EvalBatch, EvalCollator
from recall_lightning.metrics import RankingMetrics
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.scoring import SCORES_AT_ONCE, score_chunks
from recall_lightning.models.similarity import Dot
from recall_lightning.models.sweep import sweep
from recall_lightning.models.top_k import USERS_AT_ONCE, RankedItems

SHAPES = [(1024, 4096), (1024, 8192), (4096, 1024), (8192, 512)]  # of products whose rate is measured
KS = [10, 50]
LAST = 10

Way = Callable[[], Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[3700, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--users", type=int, default=1024)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--evaluate", action="store_true")
    asked, keys = parser.parse_known_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    print(f"{processor()}, one core, torch {torch.__version__}, faiss {faiss.__version__}{kernel_of_faiss()}\n")
    if asked.evaluate:
        evaluate(keys, asked.repeats)
    else:
        rank(asked)


def rank(asked: argparse.Namespace) -> None:
    """Top k of generated items."""
    print(f"top {asked.k} of {asked.users} users, d = {asked.dim}, medians of {asked.repeats} in turn\n")
    rows = []
    for n in asked.items:
        draw = torch.Generator().manual_seed(n)
        items = F.normalize(torch.randn(n, asked.dim, generator=draw))
        users = F.normalize(torch.randn(asked.users, asked.dim, generator=draw))
        ways, ready = ways_to_rank(users, items, asked.k)
        right, took = checked(ways, users, items), in_turn(ways, asked.repeats, asked.dim)
        rate = 2 * asked.dim * n * asked.users / 1e9  # GFLOP
        best = max(took.pop("rate"))
        for way, times in took.items():
            seconds, of_faiss = statistics.median(times), statistics.median(took["faiss"])
            rows.append([
                f"{n:,}", way, f"{seconds / asked.users * 1e6:.1f}", f"{of_faiss / seconds:.2f}",
                f"{rate / seconds:.0f}", f"{100 * rate / seconds / best:.0f}%", f"{best:.0f}", right[way],
                f"{ready:.2f}" if way == "ours" else "–",
            ])  # fmt: skip
    print_table(
        [
            "items",
            "way",
            "µs a user",
            "× faiss",
            "GFLOP/s",
            "of float32",
            "that",
            "places as float64's",
            "made ready, s",
        ],
        rows,
    )


def ways_to_rank(users: Tensor, items: Tensor, k: int) -> tuple[dict[str, Way], float]:
    """Ways that give the rows of `(users, k)`, and the seconds of making ours ready."""
    started = time.process_time()
    ranked = RankedItems(items, Dot())
    ranked.top_k(users[:USERS_AT_ONCE], k)
    ready = time.process_time() - started
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items.numpy())
    at_once = max(1, SCORES_AT_ONCE // len(items))
    ways: dict[str, Way] = {
        "ours": lambda: ranked.top_k(users, k)[1],
        "ours, float32 alone": lambda: [sweep(part, items, k) for part in users.split(USERS_AT_ONCE)],
        "faiss": lambda: torch.from_numpy(index.search(users.numpy(), k)[1]),
        "torch": lambda: torch.cat([(part @ items.T).topk(k).indices for part in users.split(at_once)]),
    }
    return ways, ready


def checked(ways: dict[str, Way], users: Tensor, items: Tensor) -> dict[str, str]:
    """Of each way, the share of 64 users' places that hold the item that scores in float64 put there."""
    found = {way: rows for way, run in ways.items() if isinstance(rows := run(), Tensor)}
    exact = torch.cat(
        [(part.double() @ items.double().T).topk(found["ours"].shape[1]).indices for part in users[:64].split(16)]
    )
    return {way: f"{(found[way][:64] == exact).double().mean():.4f}" if way in found else "–" for way in ways}


def in_turn(ways: dict[str, Way], repeats: int, dim: int = 0) -> dict[str, list[float]]:
    """Processor seconds of each repeat, and, with a dim, the best `rate` of float32 products in GFLOP/s beside them."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, run in ways.items():
            started = time.process_time()
            run()
            if repeat:  # the first isn't counted
                took[way].append(time.process_time() - started)
        if dim and repeat:
            took.setdefault("rate", []).append(max(rate_of(*shape, dim) for shape in SHAPES))
    return took


def rate_of(rows: int, columns: int, dim: int) -> float:
    """GFLOP/s of a float32 product `(rows, dim) (dim, columns)` into the same memory, the best of ten."""
    left, right, out = torch.randn(rows, dim), torch.randn(dim, columns), torch.empty(rows, columns)
    times = []
    for _ in range(10):
        started = time.process_time()
        torch.mm(left, right, out=out)
        times.append(time.process_time() - started)
    return 2 * rows * columns * dim / min(times) / 1e9


def evaluate(keys: list[str], repeats: int) -> None:
    """Evaluations of a real split."""
    data = data_of([], keys, quiet=True)
    data.setup()
    cases = data.split.test
    everyone = EvalCollator(cases, data.tokens, max_history=LAST, history_tokens=None)(range(len(cases)))
    items = F.normalize(text_vectors(data))
    taken = F.embedding(everyone.history + 1, F.pad(items, (0, 0, 1, 0)))  # (users, LAST, dim), zeros for none
    users = F.normalize(taken.sum(1))
    ways: dict[str, Way] = {
        "ours": lambda: ours(users, items, everyone),
        "torchmetrics": lambda: torchmetrics(users, items, everyone),
    }
    try:
        from recbole.evaluator import Collector, Evaluator  # noqa: F401  # only whether it is there
    except ImportError as error:
        print(f"RecBole can't be imported, and is left out: {error}\n")
    else:
        ways["RecBole"] = lambda: recbole(users, items, everyone)
    figures = {way: run() for way, run in ways.items()}
    took = in_turn(ways, repeats)
    print(f"{len(users):,} users x {len(items):,} items, d = {items.shape[1]}, medians of {repeats} in turn\n")
    names = list(figures["ours"])
    print_table(
        ["way", "seconds", "times ours", *names],
        [
            [
                way,
                f"{statistics.median(times):.2f}",
                f"{statistics.median(times) / statistics.median(took['ours']):.1f}",
            ]
            + [f"{figures[way][name]:.4f}" for name in names]
            for way, times in took.items()
        ],
    )


def ours(users: Tensor, items: Tensor, batch: EvalBatch) -> dict[str, float]:
    """As validation does it."""
    metrics = RankingMetrics(KS)
    for chunk, scores in score_chunks(users, items, Dot(), known=batch.known):
        metrics.update_ranks(target_ranks(scores, batch.targets[chunk]))
    found = metrics.compute()
    return {f"{name}@{k}": float(found[f"{name}@{k}"]) for name in ("recall", "ndcg", "mrr") for k in KS}


def torchmetrics(users: Tensor, items: Tensor, batch: EvalBatch) -> dict[str, float]:
    """By its retrieval metrics, which need one list of all pairs, and scores above 0."""
    kinds = {
        "recall": retrieval.RetrievalRecall,
        "ndcg": retrieval.RetrievalNormalizedDCG,
        "mrr": retrieval.RetrievalMRR,
    }
    scores = users @ items.T + 2
    scores[pairs(batch.known)] = 0
    relevant = torch.zeros_like(scores, dtype=torch.bool)
    relevant[pairs(batch.targets)] = True
    of = torch.arange(len(users))[:, None].expand_as(scores).flatten()
    found = {}
    for name, kind in kinds.items():
        for k in KS:
            metric = kind(top_k=k)
            metric.update(scores.flatten(), relevant.flatten(), of)
            found[f"{name}@{k}"] = float(metric.compute())
    return found


def recbole(users: Tensor, items: Tensor, batch: EvalBatch) -> dict[str, float]:
    """By its collector and evaluator, batch by batch as its trainer does."""
    from recbole.evaluator import Collector, Evaluator

    vars(np)["float"] = float  # RecBole 1.2.1 still names it so
    config = {
        "metrics": ["Recall", "NDCG", "MRR"], "topk": KS, "metric_decimal_place": 6, "device": torch.device("cpu"),
        "eval_args": {"mode": "full"},
    }  # fmt: skip
    collector, evaluator = Collector(config), Evaluator(config)
    for some in torch.arange(len(users)).split(1024):
        scores = users[some] @ items.T
        scores[pairs(batch.known[some])] = -np.inf
        collector.eval_batch_collect(scores, None, *pairs(batch.targets[some]))
    return dict(evaluator.evaluate(collector.get_data_struct()))


def pairs(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Users and items of `(users, n)` rows, `-1` pads."""
    users, places = (rows >= 0).nonzero(as_tuple=True)
    return users, rows[users, places]


def kernel_of_faiss() -> str:
    """Which kernels its OpenBLAS runs, where it brings one."""
    found = [of for of in threadpool_info() if of["internal_api"] == "openblas" and "faiss" in of["filepath"]]
    return "".join(f", its OpenBLAS {of['version']} for {of['architecture']}" for of in found)


def processor() -> str:
    """The processor's name."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip()


if __name__ == "__main__":
    main()
