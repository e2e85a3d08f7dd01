"""Runs of a command that are killed at chosen moments, and what they leave.

A run is a fork of this process, which has imported everything, so that it starts at once. What it does to files is seen
by an audit hook (PEP 578), which also kills: before the n-th change of a file or folder by SIGKILL, or while the file
opened there is being written: the system then ends the process at the byte that a limit names (`RLIMIT_FSIZE`,
SIGXFSZ), whichever language writes it.
"""

import hashlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
DIED = {-signal.SIGKILL, -signal.SIGXFSZ}

Act = Callable[[], None]
States = dict[str, set[str]]  # of each file, by its name: hashes of what may stand there


@dataclass(frozen=True)
class Moment:
    """When a run is killed.

    Attributes:
        change: before this change of a file or folder, counted from 0.
        limit: where it is given, `change` is let pass, and the first file to outgrow so many bytes ends the run.
        seconds: or after so long.
    """

    change: int | None = None
    limit: int | None = None
    seconds: float | None = None


@dataclass
class Seen:
    """What a whole run did.

    Attributes:
        states: what stood under each name.
        opens: which changes open a file to write it.
        in_place: files that were written under their own names, so that a reader could see a part of them.
        n_changes: of files and folders.
        seconds: that it took.
    """

    states: States = field(default_factory=dict)
    opens: list[int] = field(default_factory=list)
    in_place: list[str] = field(default_factory=list)
    n_changes: int = 0
    seconds: float = 0.0

    def add(self, folder: Path, at: Path, name: Path) -> None:
        """Take a file, or all files of a folder, as they are `at` a place, for what may stand under `name`."""
        for path in [at, *at.rglob("*")]:
            place = name / path.relative_to(at)
            if path.is_file() and is_shown(folder, place):
                self.states.setdefault(label(folder, place), set()).add(state_of(path, place.name))


class FailedError(Exception):
    """A run that nobody killed ended with an error."""


def run(act: Act, folder: Path, moment: Moment = Moment()) -> tuple[bool, Seen]:
    """Have a process of its own act in a folder.

    Returns:
        Whether it was killed before it had ended; what it did, of a run that was not to be killed.

    Raises:
        FailedError: if it ended with an error.
    """
    kept, told = (folder.with_name(f"{folder.name}.{name}") for name in ("seen", "log"))
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(act, folder, moment, kept, told)
    if moment.seconds is not None:
        _wait(pid, began + moment.seconds)
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status in DIED:
        return True, Seen()
    if status:
        raise FailedError(f"status {status}: {told.read_text(errors='replace')[-2000:]}")
    seen: Seen = pickle.loads(kept.read_bytes())
    seen.seconds = time.monotonic() - began
    return False, seen


def _wait(pid: int, until: float) -> None:
    """Wait for a process, until a time of `time.monotonic`, and leave its status for others to ask for."""
    while time.monotonic() < until and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.001)


def _child(act: Act, folder: Path, moment: Moment, kept: Path, told: Path) -> None:
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        sink = os.open(os.devnull if moment != Moment() else told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seen = _watch(folder, moment)
        try:
            act()
        except SystemExit as ended:
            if ended.code:
                raise
        if moment == Moment():
            seen.add(folder, folder, folder)
        kept.write_bytes(pickle.dumps(seen))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _watch(folder: Path, moment: Moment) -> Seen:
    """Count and note the changes of files in a folder, and kill this process at its moment."""
    seen, busy = Seen(), False

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or (event not in CHANGES and not (event == "open" and _writes(given))):
            return
        path = _path_of(event, given)
        if path is None or not path.is_relative_to(folder) or (event == "open" and path.is_dir()):
            return
        n, seen.n_changes = seen.n_changes, seen.n_changes + 1
        if n == moment.change:
            if moment.limit is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (moment.limit, resource.RLIM_INFINITY))
        if moment == Moment():
            busy = True
            if event == "open":
                seen.opens.append(n)
                if is_shown(folder, path):
                    seen.in_place.append(label(folder, path))
            elif event == "os.rename":
                seen.add(folder, path, Path(os.path.abspath(given[1])))
            busy = False

    sys.addaudithook(hook)
    return seen


def _writes(given: tuple[Any, ...]) -> bool:
    return isinstance(given[0], str | bytes | os.PathLike) and bool(given[2] & WRITING)


def _path_of(event: str, given: tuple[Any, ...]) -> Path | None:
    """The file that an event of the audit is about, absolute."""
    if not isinstance(given[0], str | bytes | os.PathLike):
        return None
    at = (
        given[1]
        if event in {"os.remove", "os.rmdir"}
        else given[2]
        if event in {"os.rename", "os.mkdir", "os.link"}
        else -1
    )
    base = os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) and at >= 0 else os.getcwd()
    return Path(os.path.normpath(os.path.join(base, os.fsdecode(given[0]))))


def is_shown(folder: Path, path: Path) -> bool:
    """Whether a file stands under a name that anyone would look for: no part of it is hidden."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def label(folder: Path, path: Path) -> str:
    """A file's name in the folder; one run's `version_0` is another's `version_1`, and so are its events."""
    name = re.sub(r"version_\d+", "version_n", path.relative_to(folder).as_posix())
    return re.sub(r"tfevents\..*", "tfevents", name)


def state_of(path: Path, name: str) -> str:
    """A hash of what a file means that is to be called `name`: without times, paths and measured seconds.

    Raises:
        Exception: of any kind, if it is cut short or broken.
    """
    digest = hashlib.blake2b(digest_size=12)
    if Path(name).suffix == ".ckpt":
        import torch

        kept = torch.load(path, map_location="cpu", weights_only=True)
        parts = ("epoch", "global_step", "state_dict", "optimizer_states", "hyper_parameters")
        _hash(digest, [kept[part] for part in parts])
        _hash(digest, [kept["recall_lightning"][key] for key in sorted(kept["recall_lightning"])])
    elif Path(name).suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"])) if "told" in arrays.files else {}
            measured = {"seconds", "all_seconds", "memory"}
            _hash(digest, [{name: value for name, value in told.items() if name not in measured}])
            _hash(digest, [arrays[name] for name in sorted(arrays.files) if name != "told"])
    elif Path(name).suffix == ".db":  # a search goes on with other trials: only that it is whole counts
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as study:
            assert study.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    elif name.endswith("auto.yaml"):  # tells seconds
        digest.update(str(sorted(yaml.safe_load(path.read_text())["auto"])).encode())
    elif name == "config.yaml":  # of a run that goes on, it tells from what
        settings = yaml.safe_load(path.read_text())
        digest.update(yaml.safe_dump({**settings, "ckpt_path": None}).encode())
    elif name == "comparison.md":  # tells seconds and memory
        digest.update(re.sub(r"[\d.,]+", "#", path.read_text()).encode())
    elif "tfevents" not in name and not name.endswith("-journal"):  # which are appended to, and rolled back
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _hash(digest: Any, value: Any) -> None:
    if hasattr(value, "detach"):
        value = value.detach().float().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _hash(digest, value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            _hash(digest, part)
    else:
        digest.update(repr(value).encode())


@dataclass
class Left:
    """What a run left: a state for each file that is shown, and those that are no state of a whole run."""

    states: dict[str, str]
    broken: list[str]


def left(folder: Path, expected: States | None) -> Left:
    """Look through a folder for files that look whole and are not.

    Args:
        folder: the command's.
        expected: what may stand there; None for whatever can be read.
    """
    found = Left({}, [])
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or not is_shown(folder, path):
            continue
        name = label(folder, path)
        try:
            state = state_of(path, path.name)
        except Exception as error:  # whatever a reader of any kind of file says of a broken one
            found.broken.append(f"{name}: {type(error).__name__}")
            continue
        found.states[name] = state
        if expected is not None and state not in expected.get(name, set()):
            found.broken.append(f"{name}: not as a whole run leaves it")
    return found


def fresh(folder: Path, base: Path) -> None:
    """Put a folder back as it was before the first run."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)


def moments(seen: Seen, draw: np.random.Generator, tries: int) -> Iterator[Moment]:
    """Before every change, inside of every file that is written, and at `tries` random moments, evenly spread."""
    for n in range(seen.n_changes):
        yield Moment(n)
        if n in seen.opens:
            yield Moment(n, limit=0)
            yield Moment(n, limit=int(10 ** draw.uniform(0, 5)))
    for i in range(tries):
        yield Moment(seconds=(i + draw.random()) / tries * seen.seconds)
