"""Time and memory of reading, filtering, splitting and tokenizing data on one core, without and with the cache.

    python scripts/bench_data.py --config configs/book-crossing.yaml --data.reader.init_args.path ...

Each run is a process of its own on one core, with an empty cache and then with what the first one left there. Seconds
are of `RecallDataModule.setup`, memory is the whole process's peak, libraries included.
"""

import os
import subprocess
import sys
import tempfile

RUN = """
import os, resource, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
from recall_lightning.cli.trainer import data_of
import torch
torch.set_num_threads(1)
data = data_of([], sys.argv[1:], quiet=True)
started = time.perf_counter()
data.setup()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{len(data.interactions)} {data.interactions.n_users} {len(data.catalogue)} {seconds:.1f} {peak:.2f}")
"""


def main() -> None:
    """Run twice and print both, with their ratio."""
    given = sys.argv[1:]
    if not given:
        sys.exit(__doc__)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as cache:
        seconds = []
        for name in ("empty cache", "from the cache"):
            command = [sys.executable, "-c", RUN, *given, "--data.cache_dir", cache]
            ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            rows, users, items, took, peak = ran.stdout.split()[-5:]
            seconds.append(float(took))
            print(
                f"{name}: {int(rows):,} interactions, {int(users):,} users, {int(items):,} items in {took} s, "
                f"peak {peak} GiB"
            )
        kept = sum(os.path.getsize(os.path.join(cache, file)) for file in os.listdir(cache))
        print(f"{seconds[0] / seconds[1]:.1f} times as fast; the cache takes {kept / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
