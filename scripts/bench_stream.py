"""Interactions in Parquet shards against one table in memory: time and memory of preparation, and training's batches.

    python scripts/bench_stream.py [--rows 20000000] [--users 200000] [--items 20000] [--memory-mb 512] [--shards-alone]

Generates interactions in a temporary folder (`--folder` says where), as shards of a million rows and as one file of the
same rows. `RecallDataModule.setup` runs in a process of its own on one core, with an empty cache and again with what
the first left there; then one process that has both takes batches of training (64 users of up to 50 items, tokens
included) and of validation, in turn. Memory is what a process holds by itself at its peak (RssAnon), beyond what its
libraries took: pages of mapped files, which the system takes back as it likes, are left out. With `--shards-alone` the
table, which may not fit, is neither made nor read.
"""

import argparse
import json
import os
import statistics
import string
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

REPEATS, BATCHES = 9, 100
SHARD = 1_000_000
READ = """
import itertools, json, os, sys, threading, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
import torch
from recall_lightning import RecallDataModule, Tabular

torch.set_num_threads(1)
items, encoder, memory_mb, *sources = sys.argv[1:]

def read(interactions, cache):
    reader = Tabular(interactions, items, memory_mb=int(memory_mb))
    data = RecallDataModule(reader, "{title}", encoder, cache_dir=cache, eval_batch_size=64)
    data.setup()
    return data
"""
SETUP = (
    READ
    + """
def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

def watch():
    while True:
        peaks.append(max(peaks.pop(), held()))
        time.sleep(0.01)

at_first = held()
peaks = [at_first]
threading.Thread(target=watch, daemon=True).start()
wall, cpu = time.perf_counter(), time.process_time()
data = read(*sources)
told = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "rows": len(data.interactions)}
print(json.dumps(told | {"peak_mib": peaks[0] - at_first, "kept_mib": held() - at_first}))
"""
)
TAKE = (
    READ
    + f"""
rates = {{}}
loaders = []
for source in zip(sources[::2], sources[1::2]):
    data = read(*source)
    loaders.append({{"training": data.train_dataloader(), "validation": data.val_dataloader()}})
for part in ("training", "validation"):
    rates[part] = [[] for _ in loaders]
    for repeat in range({REPEATS}):
        for loader, taken in zip(loaders, rates[part]):
            if part == "training":
                loader[part].sampler.set_epoch(repeat)
            batches = iter(loader[part])
            next(batches)  # the order of an epoch is drawn with the first
            started = time.perf_counter()
            n = sum(1 for _ in itertools.islice(batches, {BATCHES}))
            taken.append(n / (time.perf_counter() - started))
print(json.dumps(rates))
"""
)


def main() -> None:
    """Generate, run in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--shards-alone", action="store_true")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        generate(folder, asked.rows, asked.users, asked.items, table=not asked.shards_alone)
        sources = ["shards"] if asked.shards_alone else ["shards", "table.parquet"]
        print(f"{processor()}, one core; {asked.rows:,} rows, {asked.users:,} users, {asked.items:,} items")
        size = sum(file.stat().st_size for file in (folder / "shards").iterdir()) / 2**20
        print(
            f"shards of {size:,.0f} MiB; items and times of all rows are {asked.rows * 16 / 2**20:,.0f} MiB in memory"
        )
        for cached in (False, True):
            print(f"\nsetup, {'from the cache' if cached else 'empty cache'}")
            results = [run(SETUP, folder, asked.memory_mb, source) for source in sources]
            for source, told in zip(sources, results, strict=True):
                print(
                    f"  {source}: {told['rows']:,} interactions, {told['seconds']:.1f} s ({told['cpu']:.1f} s of CPU, "
                    f"{asked.rows / told['cpu']:,.0f} rows a second of it), peak memory {told['peak_mib']:,.0f} MiB, "
                    f"{told['kept_mib']:,.0f} after it"
                )
            if len(results) == 2:
                shards, table = results
                print(f"  shards / table: {', '.join(f'{k} {shards[k] / table[k]:.2f}' for k in ('cpu', 'peak_mib'))}")
        for part, rates in run(TAKE, folder, asked.memory_mb, *sources).items():
            print(f"\n{part}, batches/s")
            medians = [statistics.median(taken) for taken in rates]
            for source, taken, median in zip(sources, rates, medians, strict=True):
                print(f"  {source}: {median:.0f} ({min(taken):.0f} to {max(taken):.0f})")
            if len(medians) == 2:
                ratios = [ours / theirs for ours, theirs in zip(*rates, strict=True)]
                print(f"  shards / table: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        kept = sum(file.stat().st_size for file in (folder / "cache-shards").rglob("*") if file.is_file())
        print(f"\nthe cache of the shards takes {kept / 2**20:,.0f} MiB")


def generate(folder: Path, rows: int, users: int, items: int, *, table: bool) -> None:
    """Users who take items by a popularity that falls with the rank, in the order of time."""
    (folder / "shards").mkdir()
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{i},film number {i}\n" for i in range(items)))
    encoder(folder / "encoder")
    rng = np.random.default_rng(0)
    whole = None
    for at in range(0, rows, SHARD):
        n = min(SHARD, rows - at)
        part = pa.table({
            "user_id": rng.integers(0, users, n), "item_id": (rng.random(n) ** 2 * items).astype(np.int64),
            "timestamp": at + np.arange(n),
        })  # fmt: skip
        pq.write_table(part, folder / "shards" / f"{at // SHARD:05d}.parquet")
        if table:
            whole = whole or pq.ParquetWriter(folder / "table.parquet", part.schema)
            whole.write_table(part)
    if whole:
        whole.close()


def encoder(folder: Path) -> None:
    """A tokenizer that spells words, in the folder of a narrow BERT; nothing here asks for vectors."""
    from transformers import BertTokenizerFast

    folder.mkdir()
    letters = [*string.ascii_lowercase, *string.digits]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(vocabulary)}))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def run(code: str, folder: Path, memory_mb: int, *sources: str) -> dict:
    """What a process of its own tells of one source or both."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    arguments = [folder / "items.csv", folder / "encoder", memory_mb]
    for source in sources:
        arguments += [folder / source, folder / f"cache-{source.partition('.')[0]}"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def processor() -> str:
    """The CPU's name."""
    with open("/proc/cpuinfo") as told:
        return next((line.split(":", 1)[1].strip() for line in told if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
