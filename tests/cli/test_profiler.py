"""`--trainer.profiler` of every kind says where a run's time goes."""

import os
import sys

import pytest
from forked import Forked

from recall_lightning.cli.main import main

RUNS = {
    "simple": ["simple"],
    "advanced": ["advanced"],
    "pytorch": ["pytorch"],
    "a file": [
        "PyTorchProfiler", "--trainer.profiler.dirpath", "told", "--trainer.profiler.filename", "profile",
        "--trainer.profiler.dict_kwargs.acc_events", "true", "--trainer.profiler.row_limit", "200",
    ],
}  # fmt: skip


def fits(folder, runs):
    """One after the other, in a process of their own."""
    os.chdir(folder)
    for run in runs:
        main(["fit", *run])
        print("END OF A RUN", file=sys.stderr, flush=True)


@pytest.fixture(scope="module")
def folder(write_typed, tmp_path_factory):
    return write_typed(tmp_path_factory.mktemp("profiled"))


@pytest.fixture(scope="module")
def reports(folder, tiny_encoder):
    """What `fit` on the typed tables says with each profiler."""
    flags = [
        "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", "--trainer.logger", "false",
        "--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", str(folder), "--data.cache_dir",
        str(folder / "cache"), "--data.reader", "recall_lightning.Tabular", "--data.reader.interactions",
        str(folder / "interactions.csv"), "--data.reader.items", str(folder / "items.csv"), "--data.text", "{title}",
        "--model.encoder.path", str(tiny_encoder), "--trainer.profiler",
    ]  # fmt: skip
    begun = Forked(fits, folder, [[*flags, *run] for run in RUNS.values()])
    status, stderr = begun.wait(timeout=240), begun.stderr(timeout=60)
    assert status == 0, stderr[-4000:]
    return dict(zip(RUNS, stderr.split("END OF A RUN\n")[:-1], strict=True))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "simple",
            ["FIT Profiler Report", "[_TrainingEpochLoop].train_dataloader_next", "RecallModule.optimizer_step"],
        ),
        ("advanced", ["Profile stats for: [Strategy]SingleDeviceStrategy.training_step", "recall.py"]),
        ("pytorch", ["Self CPU %", "aten::"]),
    ],
)
def test_a_profiler_by_its_name_prints_its_report(reports, kind, told):
    assert [line for line in told if line not in reports[kind]] == []


def test_a_report_can_be_a_file_and_count_all_steps(reports, folder):
    assert "[pl][profile]run_training_batch" in (folder / "told" / "fit-profile.txt").read_text()
    assert list((folder / "told").glob("*.json"))
