"""Files and folders are written whole or not at all."""

import itertools
import signal
import stat
import subprocess
import sys

import pytest

from recall_lightning.whole import folder_written_whole, written_whole


def test_the_file_appears_when_all_is_written_and_others_may_read_it(tmp_path):
    path = tmp_path / "made" / "file.csv"
    with written_whole(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [found.name for found in path.parent.iterdir()] == ["file.csv"]


def stopped_half_way(path, error):
    with written_whole(path) as file:
        file.write(b"new")
        raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there_before_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.csv"
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        stopped_half_way(path, error)
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file.csv"]


def test_a_folder_takes_the_place_of_one_before_when_all_is_written(tmp_path):
    path = tmp_path / "runs" / "encoder"
    for text in ("old", "new"):
        with folder_written_whole(path) as made:
            (made / text).write_text(text)
            (made / text).chmod(0o600)
            assert not (path / text).exists()
        assert [file.read_text() for file in path.iterdir()] == [text]
        assert stat.S_IMODE((path / text).stat().st_mode) == 0o644
    assert [found.name for found in path.parent.iterdir()] == ["encoder"]


def test_folders_inside_of_a_folder_can_be_entered_and_their_files_read(tmp_path):
    with folder_written_whole(tmp_path / "out") as made:
        (made / "inside").mkdir()
        (made / "inside" / "file").write_text("all")
        (made / "inside" / "file").chmod(0o600)
    assert stat.S_IMODE((tmp_path / "out" / "inside").stat().st_mode) & 0o111
    assert stat.S_IMODE((tmp_path / "out" / "inside" / "file").stat().st_mode) == 0o644


def folder_stopped_half_way(path, error):
    with folder_written_whole(path) as made:
        (made / "new").write_text("new")
        raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_a_failure_leaves_the_folder_that_was_there_before_and_nothing_else(tmp_path, error):
    path = tmp_path / "encoder"
    with pytest.raises(type(error)):
        folder_stopped_half_way(path, error)
    assert not list(tmp_path.iterdir())
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(type(error)):
        folder_stopped_half_way(path, error)
    assert [file.read_text() for file in path.iterdir()] == ["old"]
    assert [found.name for found in tmp_path.iterdir()] == ["encoder"]


REPLACING = """
import os, signal, sys
from pathlib import Path
from recall_lightning.whole import folder_written_whole

def hook(event, given):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

with folder_written_whole(Path(sys.argv[1])) as made:
    (made / "one").write_text("new")
    (made / "two").write_text("new")
    left = int(sys.argv[2])
    sys.addaudithook(hook)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no folder for a moment")
def test_a_folder_that_is_replaced_is_the_former_one_or_the_new_one_at_whichever_moment_it_is_killed(tmp_path):
    path = tmp_path / "encoder"
    for change in itertools.count():
        path.mkdir(exist_ok=True)
        for name in ("one", "two"):
            (path / name).write_text("old")
        ended = subprocess.run([sys.executable, "-c", REPLACING, str(path), str(change)], check=False).returncode
        texts = [(path / name).read_text() for name in ("one", "two")]
        assert texts in (["old", "old"], ["new", "new"])
        if not ended:
            break
        assert ended == -signal.SIGKILL
    assert change > 2
    assert texts == ["new", "new"]
