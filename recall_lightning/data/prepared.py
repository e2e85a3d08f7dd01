"""Prepared data: what reading, filtering and grouping came to, kept on disk by the content of all that it came of."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.filters import Filters
from recall_lightning.data.interactions import Interactions, Ties, group_by_user
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.readers.base import Reader
from recall_lightning.whole import written_whole

VERSION = 2  # raise it where equal files come to be read otherwise


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be split.

    Attributes:
        interactions: grouped by user, in time order.
        catalogue: the items.
        n_read: interactions that were read, before any filter.
        left_out: interactions that each filter left out, by its name.
        broken: what the reader left out, a line for each kind.
        n_repeated: interactions with an item that the user had met already.
        n_items_read: items of the interactions that were read.
        n_items_without_text: those of them that have none, and `n_without_text` interactions with them.
    """

    interactions: Interactions
    catalogue: Catalogue
    n_read: int
    left_out: dict[str, int]
    broken: list[str]
    n_repeated: int
    n_items_read: int
    n_items_without_text: int
    n_without_text: int


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
        cache_dir: folder of the cache, None for none. A file there is named by the hash of the files' bytes and of
            every setting, and written whole or not at all.

    Raises:
        InputError: if a file, a row or an option can't be used.
    """
    path = None
    if cache_dir is not None:
        settings = {"version": VERSION, "reader": reader.recipe(), "template": template, "filters": asdict(filters),
                    "ties": ties, "seed": seed}  # fmt: skip
        path = cache_dir / f"prepared-{_fingerprint(reader, settings)}.npz"
        if path.is_file():
            return _read(path, template)
    log, described = reader.read_interactions(), reader.read_items(template)
    broken = [str(kind) for kind in reader.broken]
    kept, catalogue, left_out = filters.apply(log, described)
    interactions = group_by_user(kept, catalogue.ids, ties=ties, seed=seed, repeats=filters.repeats)
    mute = np.array([described.row(item) < 0 for item in log.item_ids], bool)
    made = Prepared(
        interactions, catalogue, len(log), left_out, broken, len(kept) - len(interactions), len(mute), int(mute.sum()),
        int(mute[log.items].sum()),
    )  # fmt: skip
    if path is not None:
        _write(made, path)
    return made


def _fingerprint(reader: Reader, settings: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16)
    for path in reader.files():
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _write(made: Prepared, path: Path) -> None:
    grouped, catalogue = made.interactions, made.catalogue
    told = {
        "n_read": made.n_read, "left_out": made.left_out, "broken": made.broken, "n_repeated": made.n_repeated,
        "n_items_read": made.n_items_read, "n_items_without_text": made.n_items_without_text,
        "n_without_text": made.n_without_text,
    }  # fmt: skip
    arrays: dict[str, Any] = {"items": grouped.items.astype(np.int32), "offsets": grouped.offsets}
    if grouped.times is not None:
        arrays["times"] = grouped.times
    lists = {"user_ids": grouped.user_ids, "ids": catalogue.ids, "texts": catalogue.texts, "titles": catalogue.titles}
    for name, strings in lists.items():
        arrays[f"{name}/bytes"], arrays[f"{name}/offsets"] = _packed(strings)
    with written_whole(path) as file:
        np.savez(file, told=json.dumps(told), **arrays)


def _read(path: Path, template: str) -> Prepared:
    with np.load(path, allow_pickle=False) as kept:
        told = json.loads(str(kept["told"]))
        lists = {
            name: _unpacked(kept[f"{name}/bytes"], kept[f"{name}/offsets"])
            for name in ("user_ids", "ids", "texts", "titles")
        }
        times = kept.get("times")
        grouped = Interactions(lists.pop("user_ids"), kept["items"].astype(np.int64), times, kept["offsets"])
    return Prepared(grouped, Catalogue(template=template, **lists), **told)


def _packed(strings: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [text.encode() for text in strings]
    lengths = np.array([len(text) for text in encoded], np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets_of(lengths)


def _unpacked(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[str]:
    whole, ends = data.tobytes(), offsets.tolist()
    return [whole[start:stop].decode() for start, stop in itertools.pairwise(ends)]
