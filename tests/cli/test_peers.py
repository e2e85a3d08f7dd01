"""Several processes: when one is gone, the others say so and end."""

import os
import sys
import time
from pathlib import Path

import pytest
from forked import Forked, program

from recall_lightning.cli.peers import GRACE_SECONDS, LOOK_EVERY_SECONDS, _shortened

ENDS_WITHIN_SECONDS = 60  # of what takes milliseconds by itself: the machine may be busy; Lightning's timeout is 1,800


def arguments(how, rank, typed, tiny_encoder, *more):
    return [
        "fit", "--trainer.accelerator", "cpu", "--trainer.devices", "2",
        "--trainer.max_epochs", "100", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false",
        "--trainer.default_root_dir", str(typed), "--data.cache_dir", str(typed / "cache"),
        "--data.reader", "recall_lightning.Tabular", "--data.reader.interactions", str(typed / "interactions.csv"),
        "--data.reader.items", str(typed / "items.csv"), "--data.text", "{title}", "--data.batch_size", "1",
        "--data.max_history", "1", "--model.encoder.path", str(tiny_encoder), "--early_stopping.patience", "100",
        f"--trainer.callbacks+=lost_processes.{how}", "--trainer.callbacks.rank", str(rank), *more,
    ]  # fmt: skip


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), "OMP_NUM_THREADS": "1"}


def said(stderr):
    return [line for line in stderr.splitlines() if line.startswith("recall-lightning")]


def assert_it_ends_with_one_line(status, stderr, found):
    assert status == 1, stderr[-4000:]
    (line,) = said(stderr)
    assert line.startswith("recall-lightning: process 0 stops, for another one is gone or doesn't answer (")
    assert found in line
    assert line.endswith("and go on with --ckpt_path")
    assert "Traceback" not in stderr


def test_a_program_that_is_busy_by_itself_ends_too_when_a_process_it_started_is_lost(typed, tiny_encoder):
    begun = Forked(program, arguments("Alone", 1, typed, tiny_encoder), environment=environment())
    status = begun.wait(timeout=240)
    assert_it_ends_with_one_line(status, begun.stderr(ENDS_WITHIN_SECONDS), "process 1 ended with -9")


@pytest.mark.parametrize(
    ("how", "more", "found"),
    [
        ("Killed", [], "by peer"),
        ("Stalled", ["--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", "0:0:15"], "Timed out"),
    ],
)
def test_a_process_that_is_lost_ends_the_run_with_one_line_and_status_1(typed, tiny_encoder, how, more, found):
    begun = Forked(program, arguments(how, 1, typed, tiny_encoder, *more), environment=environment())
    status = begun.wait(timeout=240)
    assert_it_ends_with_one_line(status, begun.stderr(ENDS_WITHIN_SECONDS), found)


def test_the_other_process_ends_too_when_the_one_that_started_it_is_lost(typed, tiny_encoder):
    begun = Forked(program, arguments("Killed", 0, typed, tiny_encoder), environment=environment())
    assert begun.wait(timeout=240) == -9
    lost = time.monotonic()
    stderr = begun.stderr(ENDS_WITHIN_SECONDS)  # to the end of what both write: both are gone then
    assert time.monotonic() - lost < ENDS_WITHIN_SECONDS
    (line,) = said(stderr)
    assert line.startswith("recall-lightning: process 1 stops, for another one is gone")
    assert "Traceback" not in stderr


def test_a_process_that_is_busy_by_itself_learns_of_it_within_seconds():
    assert LOOK_EVERY_SECONDS + GRACE_SECONDS <= 15


def test_what_gloo_says_is_told_without_its_source_and_its_guesses():
    assert (
        _shortened(
            "[/x/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:37532. T"
        )
        == "Connection closed by peer [127.0.0.1]:37532"
    )
