"""Killed at any moment, a command leaves nothing that looks whole and is not: a part of `scripts/kill_loop.py`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "kill_loop.py"


@pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux to end a process at a byte that it writes")
def test_commands_that_are_killed_while_they_write_leave_whole_files_and_end_well_when_given_again():
    commands = {"fit": 2, "recommend over a former": 1, "fetch": 2, "export, embeddings": 1}  # states left, at least
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--tries", "0", "--most", "6", "--only", ";".join(commands)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]
    rows = [re.findall(r"[^|]+", line) for line in ran.stdout.splitlines()[2:]]
    told = {name.strip(): [int(number) for number in numbers] for name, *numbers in rows}
    assert told.keys() == commands.keys()
    for command, (_, tries, killed, files, again, broken) in told.items():
        assert (tries >= killed > 0, files > 0, broken) == (True, True, 0)
        assert again >= commands[command]
