"""Tasks a second of both engines of the inner loop, on one core, with real users and items.

    python scripts/bench_meta.py --config configs/movielens-1m.yaml [--users 256] [--k 5] [--steps 5] [--negatives 256]

A task is a user: adaptation to the first k interactions by second-order steps, the loss of the next five after the last
step, and its gradient in the start, the step sizes and the item vectors. Those are what the config's encoder,
untouched, gives the texts; candidates are the meta-batch's distinct items and uniform negatives. The engines take
turns, and seconds are medians. A second table cuts the catalogue to its most taken items, all of them candidates.
The program's own flags are passed on: `--data.reader.init_args.path ... --model.encoder.path ...`.
"""

import argparse
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recall_lightning.baselines.text_vectors import text_vectors
from recall_lightning.cli.trainer import data_of
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints
from recall_lightning.losses import RecallLoss
from recall_lightning.meta.adaptation import ENGINES, Adaptation
from recall_lightning.meta.fast_weights import FastWeights, LinearHead, UserVector, WholeTower
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.models.user_tower import MeanTower, TransformerTower, UserTower

QUERY = 5
KINDS: dict[str, tuple[Callable[[], FastWeights], Callable[[], UserTower], float]] = {
    "user vector": (UserVector, MeanTower, 1.0),
    "linear head": (LinearHead, MeanTower, 1.0),
    "whole tower": (WholeTower, lambda: TransformerTower(layers=2, heads=2, dropout=0.0), 0.01),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=256, help="of the meta-batch")
    parser.add_argument("--k", type=int, default=5, help="interactions of a support")
    parser.add_argument("--steps", type=int, default=5, help="of the inner loop")
    parser.add_argument(
        "--negatives", type=int, default=256, help="candidates beside the meta-batch's own, first table"
    )
    parser.add_argument("--candidates", type=int, nargs="*", default=[256, 1024], help="second table, beside all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--repeats", type=int, default=5)
    asked, given = parser.parse_known_args()
    if not given:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    data = data_of([], given, quiet=True)
    data.setup()
    users, vectors = data.interactions, text_vectors(data)
    print(
        f"{asked.users} users, k {asked.k}, {asked.steps} second-order steps, vectors of {vectors.shape[1]}, one core, "
        f"{asked.repeats} repeats in turn\n"
    )
    chosen = histories(users, np.ones(len(vectors), bool), asked.users, asked.k)
    own = np.unique(chosen)
    others = np.setdiff1d(np.arange(len(vectors)), own)
    drawn = np.random.default_rng(0).permutation(others)[: asked.negatives]
    table("fast weights", [
        (name, name, vectors, chosen, np.concatenate([own, drawn]))
        for name in asked.kinds
    ], asked)  # fmt: skip

    most_taken = np.argsort(-np.bincount(users.items, minlength=len(vectors)), kind="stable")
    rows = []
    for name in asked.kinds:
        for n in [*asked.candidates, len(vectors)]:
            among = np.sort(most_taken[:n])
            inside = np.isin(np.arange(len(vectors)), among)
            rows.append(
                (f"{name}, {n:,} candidates", name, vectors, histories(users, inside, asked.users, asked.k), among)
            )
    print()
    table("catalogue cut to", rows, asked)


def histories(users: Interactions, inside: NDArray[np.bool_], n_users: int, k: int) -> Ints:
    """`(users, k + QUERY)` catalogue rows: what the first users with enough interactions took first of `inside`."""
    kept = users.select(inside[users.items])
    enough = np.flatnonzero(kept.lengths >= k + QUERY)[:n_users]
    if len(enough) < n_users:
        sys.exit(f"only {len(enough)} users have {k + QUERY} interactions: give fewer --users or a smaller --k")
    return np.stack([kept.history(user)[: k + QUERY] for user in enough])


class MetaBatch(nn.Module):
    """One meta-batch of a kind of fast weights, and all that is learned from it.

    Args:
        kind: of `KINDS`.
        vectors: `(candidates, dim)` of the items.
        taken: `(users, k + QUERY)` rows of `vectors`.
        k: of the support.
        steps: of the inner loop.
    """

    def __init__(self, kind: str, vectors: Tensor, taken: Tensor, k: int, steps: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        fast, tower, rate = KINDS[kind]
        self.items, self.tower, self.fast, self.loss = nn.Parameter(vectors), tower(), fast(), RecallLoss()
        self.tower.shape(vectors.shape[1], k)
        self.fast.shape(vectors.shape[1], self.tower)
        self.rates = StepSizes(self.fast.adapted, rate=rate, learned="tensor", per_step=True, steps=steps)
        self.support, self.query, self.steps = taken[:, :k], taken[:, k:], steps

    def gradient(self, engine: str) -> Tensor:
        """The outer gradient, all weights' in one vector; learn2learn's some users at a time, lest memory runs out."""
        n = len(self.support)
        at_once = n if engine == "batched" else 32
        parts = [torch.arange(start, min(start + at_once, n)) for start in range(0, n, at_once)]
        return torch.stack([self._gradient(engine, part) * (len(part) / n) for part in parts]).sum(0)

    def _gradient(self, engine: str, users: Tensor) -> Tensor:
        adaptation = Adaptation(self.tower, self.loss, self.fast, self.rates, self.steps, engine)
        vectors, _ = adaptation.run(self.items, self.support[users], second_order=True)
        query = self.loss(vectors[-1], self.items, self.query[users]).nll
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        found = torch.autograd.grad(query, trained, materialize_grads=True, allow_unused=True)
        return torch.cat([part.flatten() for part in found])

    def seconds(self, engine: str) -> float:
        """Of processor time, for one outer gradient."""
        gc.collect()
        started = time.process_time()
        self.gradient(engine)
        return time.process_time() - started


def table(title: str, rows: list[tuple[str, str, Tensor, Ints, Ints]], asked: argparse.Namespace) -> None:
    """Print a line for each `(label, kind, vectors, what users took, candidates)`."""
    print(f"{title:<32}{'candidates':>10} {'tasks a second':^22}{'':>8}{'largest':>12} {'peak MiB':^22}")
    print(
        f"{'':<42} {'batched':>10}{'learn2learn':>12}{'ratio':>8}{'difference':>12} {'batched':>10}{'learn2learn':>12}"
    )
    for label, kind, vectors, taken, candidates in rows:
        place = np.full(len(vectors), -1)
        place[candidates] = np.arange(len(candidates))
        made = (kind, vectors[candidates], torch.from_numpy(place[taken]), asked.k, asked.steps)
        rates, off = apart(measure, made, asked.repeats)
        memory = [apart(peak, made, engine) for engine in ENGINES]
        print(
            f"{label:<32}{len(candidates):>10,} {rates[0]:>10,.0f}{rates[1]:>12,.1f}{rates[0] / rates[1]:>8.1f}"
            f"{off:>12.0e} {memory[0]:>10,.0f}{memory[1]:>12,.0f}",
            flush=True,
        )


def measure(made: tuple[Any, ...], repeats: int) -> tuple[list[float], float]:
    """Tasks a second of each engine; how far apart their outer gradients are, relative to the largest element."""
    batch = MetaBatch(*made)
    ours, theirs = (batch.gradient(engine) for engine in ENGINES)
    taken = [[batch.seconds(engine) for engine in ENGINES] for _ in range(repeats)]
    rates = [len(batch.support) / statistics.median(times) for times in zip(*taken, strict=True)]
    return rates, float((ours - theirs).abs().max() / theirs.abs().max())


def peak(made: tuple[Any, ...], engine: str) -> float:
    """MiB that one outer gradient takes at most, beside what is there before (Linux)."""
    batch = MetaBatch(*made)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten: loading libraries takes more
    before = resident("VmHWM")
    batch.gradient(engine)
    return resident("VmHWM") - before


def resident(what: str) -> float:
    """MiB by `/proc/self/status`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 2**10


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a process of its own, whose peak memory is then its own, too."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (1,)) as pool:
        return pool.apply(function, arguments)


if __name__ == "__main__":
    main()
