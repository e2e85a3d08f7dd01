"""Files and folders that are written whole or not at all."""

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Give a temporary file beside `path` that takes its place when the block ends, and is gone if it fails.

    Args:
        path: the file to be; folders on the way are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False) as file:
        try:
            yield file
        except BaseException:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)  # a temporary file is its owner's alone
    os.replace(file.name, path)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` that takes its place when the block ends, and is gone if it fails.

    Args:
        path: the folder to be; what stands there before is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".part") as room:
        made, former = Path(room) / "made", Path(room) / "former"
        made.mkdir()
        yield made
        for file in made.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # safetensors' are their owner's alone
        if path.is_dir() and _exchanged(made, path):
            return  # what was there before goes with the temporary folder
        if path.exists():  # a folder with files in it can't be replaced in one go: for a moment there is none
            os.replace(path, former)
        os.replace(made, path)


def _exchanged(one: Path, other: Path) -> bool:
    """Have two folders take each other's place in one step, as Linux can on most file systems; whether it did."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # another system
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
