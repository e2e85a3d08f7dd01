"""Prepare data: read, filter and group it, or take what an earlier run came to with the same files and settings."""

import hashlib
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from recall_lightning.data.filters import Filters
from recall_lightning.data.grouping import Ties, group_by_user
from recall_lightning.data.prepared import Prepared, keep, kept
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.room import Room
from recall_lightning.data.streaming import stream

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
    settings = {"version": VERSION, "reader": reader.recipe(), "template": template, "filters": asdict(filters),
                "ties": ties, "seed": seed}  # fmt: skip
    name = f"prepared-{_fingerprint(reader, settings)}"
    if log is None:
        path = cache_dir / f"{name}.npz"
        if path.is_file():
            return kept(path, template)
        made = make()
        keep(made, path)
        return made
    path = cache_dir / name
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # several processes of a run come to be here at once: one works, the others wait
        if not path.is_dir():
            keep(make(), path)
    return kept(path, template, room)


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


def _fingerprint(reader: Reader, settings: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16)
    for path in reader.files():
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in reader.shards():
        stat = path.stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()
