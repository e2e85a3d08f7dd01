"""Interactions of several times the memory that a process may have: from shards they train a model, else it dies."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS, USERS, ITEMS = 7_500_000, 35_000, 1_000
SPARE = 45  # MiB that the process may take beyond what its libraries and a model take
ARRAYS = ROWS * 16 / 2**20  # MiB of items and times alone

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere no limit tells what is mapped from what is held"
)

# trains and tests on a few interactions first, so that whatever libraries take is taken before memory is limited
CHILD = """
import resource, sys
import lightning as L
from recall_lightning import ItemTower, RecallDataModule, RecallModule, Tabular, TransformerTower
from recall_lightning.modules.encoder_config import EncoderConfig

few, many, items, encoder, cache, spare = sys.argv[1:]

def run(interactions):
    reader = Tabular(interactions, items, memory_mb=8)
    data = RecallDataModule(reader, "{title}", encoder, cache_dir=cache, batch_size=4, eval_batch_size=4,
                             max_history=20)
    model = RecallModule(EncoderConfig(encoder, frozen_layers=-1), TransformerTower(1, 2), ItemTower(),
                         prior=True, transitions=True)
    trainer = L.Trainer(
        max_epochs=1, limit_train_batches=3, limit_val_batches=2, limit_test_batches=2, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return len(data.interactions), trainer.global_step, float(trainer.callback_metrics["test/recall@10"])

run(few)
with open("/proc/self/status") as status:
    taken = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (taken + int(spare) * 2**20,) * 2)
print(*run(many))
"""


def generated(rows, users, seed):
    rng = np.random.default_rng(seed)
    taken = (rng.random(rows) ** 2 * ITEMS).astype(np.int64)  # some items are taken more than others
    return pa.table({"user_id": rng.integers(0, users, rows), "item_id": taken, "timestamp": np.arange(rows) // 10})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`few.parquet`, and many interactions in `many.parquet` and, the same, as shards."""
    folder = tmp_path_factory.mktemp("larger")
    (folder / "shards").mkdir()
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{i},film {i}\n" for i in range(ITEMS)))
    (folder / "few").mkdir()
    pq.write_table(generated(20_000, 200, 0), folder / "few" / "0.parquet")
    with pq.ParquetWriter(folder / "many.parquet", generated(0, 1, 0).schema) as whole:
        for shard in range(10):
            table = generated(ROWS // 10, USERS, shard)
            pq.write_table(table, folder / "shards" / f"{shard}.parquet")
            whole.write_table(table)
    return folder


def run(folder, name, encoder, cache):
    # Arrow's own pool reserves a GiB before anything is limited, and malloc would keep what the first run gives back
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "65536",
    }  # fmt: skip
    arguments = [folder / "few", folder / name, folder / "items.csv", encoder, cache, SPARE]
    return subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)], env=environment, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip


def test_shards_larger_than_memory_are_prepared_trained_on_and_tested(folder, tiny_encoder, tmp_path):
    assert ARRAYS > 2.5 * SPARE
    ran = run(folder, "shards", tiny_encoder, tmp_path)
    assert ran.returncode == 0, ran.stderr
    n_interactions, steps, recall = ran.stdout.split()[-3:]
    assert int(n_interactions) > ROWS * 0.8  # a user's later interactions with an item are left out
    assert int(steps) == 3
    assert 0 <= float(recall) <= 1


def test_the_same_interactions_as_one_table_don_t_fit(folder, tiny_encoder, tmp_path):
    ran = run(folder, "many.parquet", tiny_encoder, tmp_path)
    assert ran.returncode != 0
    assert "MemoryError" in ran.stderr, ran.stderr
