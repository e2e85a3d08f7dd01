"""How fast it goes: by a clock that the test moves."""

import csv
import time

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from recall_lightning.callbacks.rates import Rates
from recall_lightning.data.sampler import EpochSampler, Keys, ResumableLoader


class Clock:
    """Stands still but where it is told that something took time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


class Batch(list):
    counts = {"tokens": 300, "users": 10}  # noqa: RUF012  # read, never changed


class Module(L.LightningModule):
    def __init__(self, clock):
        super().__init__()
        self.weight, self.clock = torch.nn.Parameter(torch.zeros(())), clock

    def training_step(self, batch, batch_idx):
        self.clock.now += 3.0
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx):
        self.clock.now += 1000.0

    def configure_optimizers(self):
        return torch.optim.SGD([{"params": self.parameters(), "name": "all"}], lr=0.1)


@pytest.fixture
def logged(monkeypatch, tmp_path):
    """What two epochs of four steps log at every second: a step takes 3 s, its batch 1 s, a validation 1,000 s."""
    clock = Clock(monkeypatch)

    def made(keys):
        clock.now += 1.0
        return Batch(keys)

    loader = ResumableLoader(Keys(), sampler=EpochSampler(8, seed=0), batch_size=2, collate_fn=made)
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=CSVLogger(tmp_path), log_every_n_steps=2, callbacks=[Rates()],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(Module(clock), loader, torch.utils.data.DataLoader(range(2)))
    with open(f"{trainer.log_dir}/metrics.csv", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if "speed/data_wait_share" in row]


def test_speeds_count_the_steps_and_the_waiting_but_no_validation(logged):
    assert [row["step"] for row in logged] == [2, 4, 6, 8]
    assert [row["speed/tokens_per_second"] for row in logged] == [75.0] * 4  # 300 in 3 s and 1 s
    assert [row["speed/users_per_second"] for row in logged] == [2.5] * 4


def test_the_share_of_the_time_that_a_step_waits_for_its_batch_is_told(logged):
    assert [row["speed/data_wait_share"] for row in logged] == [0.25] * 4
