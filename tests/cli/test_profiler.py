"""`--trainer.profiler` of every kind says where a run's time goes."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def profiled(typed, tiny_encoder):
    """Runs `fit` on the typed tables with a profiler's flags, in a process of its own; gives what it says."""

    def run(*flags):
        done = subprocess.run(
            [sys.executable, "-m", "recall_lightning", "fit", "--trainer.accelerator", "cpu", "--trainer.max_epochs",
             "2", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false", "--trainer.default_root_dir",
             str(typed), "--data.cache_dir", str(typed / "cache"), "--data.reader", "recall_lightning.Tabular",
             "--data.reader.interactions", str(typed / "interactions.csv"), "--data.reader.items",
             str(typed / "items.csv"), "--data.text", "{title}", "--model.encoder.path", str(tiny_encoder), *flags],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=typed, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stderr

    return run


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
def test_a_profiler_by_its_name_prints_its_report(profiled, kind, told):
    report = profiled("--trainer.profiler", kind)
    assert [line for line in told if line not in report] == []


def test_a_report_can_be_a_file_and_count_all_steps(profiled, typed):
    profiled(
        "--trainer.profiler", "PyTorchProfiler", "--trainer.profiler.dirpath", ".", "--trainer.profiler.filename",
        "profile", "--trainer.profiler.dict_kwargs.acc_events", "true", "--trainer.profiler.row_limit", "200",
    )  # fmt: skip
    assert "[pl][profile]run_training_batch" in (typed / "fit-profile.txt").read_text()
    assert list(typed.glob("fit-profile*.json")) or list(typed.glob("*.pt.trace.json"))
