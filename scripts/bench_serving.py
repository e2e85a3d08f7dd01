"""Users a second of `Recommender.recommend` on one core, adapted to and not.

    python scripts/bench_serving.py --ckpt meta.ckpt --config configs/movielens-1m.yaml [--users 2048] [--k-support 10]

Users are drawn from the config's real histories, cut to their first interactions, and given to `recommend` as a user
of the package gives them, item ids by user; the checkpoint's whole catalogue is ranked. Both ways take turns, each
preceded by a call that isn't counted, and seconds are medians, by the clock and of the processor (which other programs
disturb less). Memory is the process's peak, libraries included. The program's own flags are passed on:
`--data.reader.init_args.path ...`.
"""

import argparse
import resource
import statistics
import time

import numpy as np
import torch

from recall_lightning import Recommender
from recall_lightning.cli.trainer import data_of


def main() -> None:
    """Draw users, time both ways, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True, help="a meta-trained checkpoint")
    parser.add_argument("--config", action="append", required=True, help="the config whose histories are used")
    parser.add_argument("--users", type=int, default=2048)
    parser.add_argument("--k-support", type=int, default=10)
    parser.add_argument("--k", type=int, default=50, help="items a user")
    parser.add_argument("--adapt-candidates", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    asked, keys = parser.parse_known_args()
    torch.set_num_threads(1)
    histories = drawn(asked.config, keys, asked.users, asked.k_support)
    recommender = Recommender.from_checkpoint(asked.ckpt, device="cpu")
    ways = {"unadapted": {}, "adapted": {"adapt": True, "adapt_candidates": asked.adapt_candidates}}
    clock: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(asked.repeats + 1):
        for way, options in ways.items():
            started, used = time.perf_counter(), time.process_time()
            recommender.recommend(histories, k=asked.k, **options)
            if repeat:
                clock[way].append(time.perf_counter() - started)
                processor[way].append(time.process_time() - used)
    dim, steps = recommender.vectors.shape[1], recommender.module.hparams["inner_loop"]["steps"]
    print(
        f"{len(histories):,} users of {asked.k_support} items, {len(recommender.pool):,} items of dim {dim}, "
        f"{steps} steps, top {asked.k}"
    )
    for way in ways:
        by_clock, by_processor = (len(histories) / statistics.median(s[way]) for s in (clock, processor))
        print(f"{way}: {by_clock:,.0f} users a second by the clock, {by_processor:,.0f} of the processor")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def drawn(configs: list[str], keys: list[str], n_users: int, k: int) -> dict[str, list[str]]:
    """First k item ids of users, drawn from those who have as many."""
    data = data_of(configs, keys, quiet=True)
    data.setup()
    grouped, ids = data.interactions, data.catalogue.ids
    users = np.random.default_rng(0).permutation(np.flatnonzero(grouped.lengths >= k))[:n_users]
    return {grouped.user_ids[user]: [ids[row] for row in grouped.history(user)[:k]] for user in users.tolist()}


if __name__ == "__main__":
    main()
