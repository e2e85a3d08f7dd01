"""The other processes of a run: what is said, and how soon, when one of them is gone."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import torch.distributed
from lightning.pytorch.strategies.launchers import subprocess_script

LOOK_EVERY_SECONDS = 1.0
GRACE_SECONDS = 10.0  # to find out by itself, in its next exchange with the lost process

Children = Sequence["subprocess.Popen[bytes]"]

_OF_AN_EXCHANGE = re.compile(r"gloo|NCCL|ProcessGroup", re.IGNORECASE)


@contextmanager
def watched_peers() -> Iterator[None]:
    """End within seconds, with one line and status 1, when another process of the run is gone.

    A process finds out where it next exchanges something with the lost one. The process that started the others also
    looks after them, and ends itself where it doesn't find out within `GRACE_SECONDS`: Lightning's own way of doing so
    is to kill it, which leaves no word and another status. One that is there but doesn't answer counts as gone after
    the `timeout` of the Trainer's strategy.
    """
    children: list[subprocess.Popen[bytes]] = []

    def watch(started: Children) -> None:
        children.extend(started)
        threading.Thread(target=_look_after, args=(children,), daemon=True, name="peers").start()

    subprocess_script._launch_process_observer = watch  # type: ignore[assignment,attr-defined]  # it has no setting
    try:
        yield
    except RuntimeError as error:  # gloo's have no class of their own, torch's DistError is one
        if not (isinstance(error, torch.distributed.DistError) or _OF_AN_EXCHANGE.search(str(error))):
            raise
        _end(_shortened(str(error)), children)


def _look_after(children: Children) -> None:
    while not any(child.poll() for child in children):
        if all(child.returncode == 0 for child in children):
            return
        time.sleep(LOOK_EVERY_SECONDS)
    time.sleep(GRACE_SECONDS)
    lost = [f"process {rank} ended with {child.returncode}" for rank, child in enumerate(children, 1) if child.poll()]
    _end(", ".join(lost), children)


def _end(found: str, children: Children) -> NoReturn:
    """Say it and end at once, with the children: what runs at a normal exit would wait for the lost process, too."""
    for child in children:
        child.kill()  # one that waits for a lost process hears nothing else
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    sys.stdout.flush()
    sys.stderr.write(
        f"recall-lightning: process {rank} stops, for another one is gone or doesn't answer ({found}). See what that "
        "one said last (nothing, where the system killed it for want of memory), and go on with --ckpt_path\n"
    )
    sys.stderr.flush()
    os._exit(1)


def _shortened(message: str) -> str:
    """What a library says of a broken exchange: its first sentence, without the place in its source."""
    told = re.sub(r"^\[[^\]]*\.(cc|cpp|h):\d+\]\s*", "", message.strip()).splitlines()[0]
    return told.split(". ")[0].rstrip(".")
