"""Prepare data: read, filter and group it, or take what an earlier run came to with the same files and settings."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from recall_lightning.data.filters import Filters
from recall_lightning.data.grouping import Ties, group_by_user
from recall_lightning.data.interaction_log import LogInParts
from recall_lightning.data.prepared import Prepared, keep, kept
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.room import Room
from recall_lightning.data.streaming import stream
from recall_lightning.errors import InputError

VERSION = 2  # raise it where equal files come to be read otherwise


def prepare(
    reader: Reader, template: str, filters: Filters, ties: Ties, seed: int, cache_dir: Path | None = None
) -> Prepared:
    """Read, filter and group, or take what was kept of the same.

    Args:
        reader: of the files.
        template: of the items' texts.
        filters: what counts.
        ties: what orders a user's interactions at the same time.
        seed: of the hashes.
        cache_dir: folder of the cache, None for none. What is kept there is named by the hash of the files (of their
            bytes; of shards' paths, sizes and times of change) and of every setting, and written whole or not at all.

    Raises:
        InputError: if a file, a row or an option can't be used.
    """
    log = reader.in_parts()
    if log is not None:
        room = Room.of(cache_dir or Path(tempfile.gettempdir()), log.memory_mb)

    def make() -> Prepared:
        if log is None:
            return _in_memory(reader, template, filters, ties, seed)
        made = stream(log, reader.read_items(template), filters, ties=ties, seed=seed, room=room)
        return replace(made, broken=[str(kind) for kind in reader.broken])

    if cache_dir is None:
        return make()
    recipe = reader.recipe()
    recipe["init_args"].pop("memory_mb", None)  # changes nothing of what comes out
    settings = {"version": VERSION, "reader": recipe, "template": template, "filters": asdict(filters), "ties": ties,
                "seed": seed}  # fmt: skip
    name = f"prepared-{_fingerprint(reader, log, settings)}"
    if log is None:
        path = cache_dir / f"{name}.npz"
        if path.is_file():
            return kept(path, template)
        made = make()
        keep(made, path)
        return made
    path = cache_dir / name
    if not path.is_dir():
        with _alone(path):  # several processes of a run come to be here at once: one works, the others wait
            if not path.is_dir():
                for left in cache_dir.glob(f".{name}.*.part"):  # by a process that was killed
                    shutil.rmtree(left)
                keep(make(), path)
    return kept(path, template, room)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Work on a path while no other process does.

    Raises:
        InputError: if its folder can't be written to.
    """
    lock = FileLock(f"{path}.lock", mode=0o666)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        why = f"{path.parent}: can't be written to ({error.strerror})"
        raise InputError(f"{why}. Give another data.cache_dir") from error
    try:
        yield
    finally:
        lock.release()


def _in_memory(reader: Reader, template: str, filters: Filters, ties: Ties, seed: int) -> Prepared:
    log, described = reader.read_interactions(), reader.read_items(template)
    broken = [str(kind) for kind in reader.broken]
    passed, catalogue, left_out = filters.apply(log, described)
    interactions = group_by_user(passed, catalogue.ids, ties=ties, seed=seed, repeats=filters.repeats)
    mute = np.array([described.row(item) < 0 for item in log.item_ids], bool)
    return Prepared(
        interactions, catalogue, len(log), left_out, broken, len(passed) - len(interactions), len(mute),
        int(mute.sum()), int(mute[log.items].sum()),
    )  # fmt: skip


def _fingerprint(reader: Reader, log: LogInParts | None, settings: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16)
    for path in reader.files():
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in [] if log is None else log.files:  # as they are read, and no other that came meanwhile
        stat = path.stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()
