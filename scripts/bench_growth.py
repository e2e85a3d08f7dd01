"""How time and memory grow: a training step, an evaluation, peak memory, by users, items, history and text length.

    python scripts/bench_growth.py [--out docs/plots] [--quick]

Data is generated, one of the four sizes grows by doubling while the others stay, and each point is a process of its own
on one core (so that peak memory is its own, too). The encoder is a BERT of two layers, 128 wide, with random weights:
what is measured is how costs grow, not how large they are. For each size it prints a table and writes a plot, all axes
logarithmic, with a grey line of slope 1; the last column of the table is the slope of the last doubling, 1 where cost
grows as the size does.
"""

import argparse
import logging
import math
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt
from transformers import BertConfig, BertModel, BertTokenizerFast

from recall_lightning import ItemTower, RecallDataModule, RecallModule, TransformerTower
from recall_lightning.cli.quiet import quiet_libraries
from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.modules.encoder_config import EncoderConfig

COSTS = {"step": "training step, s", "evaluation": "evaluation, s", "memory": "peak memory, MiB"}
WARM, STEPS = 2, 7


@dataclass(frozen=True)
class Size:
    """What a point is measured at."""

    users: int = 2_000
    items: int = 4_000
    history: int = 20
    text: int = 16


GROWTH = {
    "users": [2_000, 4_000, 8_000, 16_000, 32_000],
    "items": [4_000, 8_000, 16_000, 32_000, 64_000],
    "history": [20, 40, 80, 160, 320],
    "text": [16, 32, 64, 128, 256],
}


class Generated(Reader):
    """Users who take items by a popularity of 1 / rank, each another item at each time; texts are of random words.

    Args:
        users, items, history, text: see `Size`.
    """

    def __init__(self, users: int, items: int, history: int, text: int) -> None:
        super().__init__()
        self.size = Size(users, items, history, text)

    def read_interactions(self) -> InteractionLog:
        size, rng = self.size, np.random.default_rng(0)
        n = size.history + 2  # the two newest are held back
        weights = np.cumsum(1 / np.arange(1, size.items + 1))
        drawn = np.searchsorted(weights, rng.random((size.users, n)) * weights[-1])
        taken = (drawn + np.arange(n) * 7) % size.items
        users = np.repeat(np.arange(size.users), n)
        ids = [f"u{u}" for u in range(size.users)], [f"i{i}" for i in range(size.items)]
        return InteractionLog("generated", *ids, users, taken.reshape(-1), np.tile(np.arange(n), size.users))

    def read_items(self, template: str) -> Catalogue:
        rng = np.random.default_rng(1)
        words = rng.integers(0, 26, (self.size.items, self.size.text - 2))  # beside [CLS] and [SEP]
        texts = [" ".join(chr(97 + letter) for letter in row) for row in words.tolist()]
        return Catalogue([f"i{i}" for i in range(self.size.items)], texts, texts, template)


class Times(L.Callback):
    """Seconds of processor time of each training step, its batch included."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.seconds: list[float] = []
        self.before = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        now = time.process_time()
        self.seconds.append(now - self.before)
        self.before = now


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/plots"))
    parser.add_argument("--sizes", nargs="+", choices=GROWTH, default=list(GROWTH))
    parser.add_argument("--quick", action="store_true", help="three doublings instead of four")
    asked = parser.parse_args()
    matplotlib.use("Agg")
    asked.out.mkdir(parents=True, exist_ok=True)
    print(f"{processor()}, one core\n")
    with tempfile.TemporaryDirectory() as folder:
        encoder(Path(folder))
        for name in asked.sizes:
            values = GROWTH[name][: 4 if asked.quick else None]
            measured = [apart(replace(Size(), **{name: value}), folder) for value in values]
            table(name, values, measured)
            draw(name, values, measured, asked.out / f"growth-{name}.png")


def measure(size: Size, folder: str) -> dict[str, float]:
    """The three costs at a size: processor time, and memory beside what is there before (Linux)."""
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    quiet_libraries()
    logging.getLogger("recall_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident()
    data = RecallDataModule(
        Generated(size.users, size.items, size.history, size.text), "{title}", folder, batch_size=32,
        max_history=size.history, max_text_tokens=size.text, max_encoded_items=64, cache_dir=folder,
        catalogue_items="described",
    )  # fmt: skip
    module = RecallModule(EncoderConfig(folder, dropout=0.0), TransformerTower(2, 2), ItemTower(64))
    times = Times()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=WARM + STEPS, limit_val_batches=0, logger=False,
        callbacks=[times], enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, data)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, use_distributed_sampler=False,
    )  # fmt: skip
    started = time.process_time()
    trainer.validate(module, datamodule=data, verbose=False)
    evaluation = time.process_time() - started
    return {
        "step": statistics.median(times.seconds[WARM:]), "evaluation": evaluation, "memory": resident("VmHWM") - before
    }  # fmt: skip


def apart(size: Size, folder: str) -> dict[str, float]:
    """`measure` in a process of its own, which has the libraries already."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        measured: dict[str, float] = pool.apply(measure, (size, folder))
        return measured


def slope(values: list[int], costs: list[float]) -> float:
    """Of the last doubling, in logarithms."""
    return math.log(costs[-1] / costs[-2]) / math.log(values[-1] / values[-2])


def table(name: str, values: list[int], measured: list[dict[str, float]]) -> None:
    """Print a row for each cost."""
    print(f"{name:<20}" + "".join(f"{value:>10,}" for value in values) + f"{'slope':>8}")
    for cost, label in COSTS.items():
        costs = [point[cost] for point in measured]
        print(f"{label:<20}" + "".join(f"{value:>10.4g}" for value in costs) + f"{slope(values, costs):>8.2f}")
    print(flush=True)


def draw(name: str, values: list[int], measured: list[dict[str, float]], path: Path) -> None:
    """Write the three curves beside each other."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    for axis, (cost, label) in zip(axes, COSTS.items(), strict=True):
        costs = [point[cost] for point in measured]
        axis.loglog(values, [costs[-1] * value / values[-1] for value in values], color="0.8")
        axis.loglog(values, costs, marker="o")
        axis.set(title=label, xlabel=name, xticks=values, xticklabels=[f"{value:,}" for value in values])
        axis.minorticks_off()
        axis.tick_params(axis="x", labelrotation=45)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def encoder(folder: Path) -> None:
    """A BERT of two layers, 128 wide, with random weights, whose words are letters."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(97 + letter) for letter in range(26))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512,
        max_position_embeddings=512,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def resident(what: str = "VmRSS") -> float:
    """MiB by `/proc/self/status`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 2**10


def processor() -> str:
    """Its name, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


if __name__ == "__main__":
    main()
