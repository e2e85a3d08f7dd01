"""Prepared data: what reading, filtering and grouping came to, and how it is kept on disk."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import offsets_of
from recall_lightning.data.room import Room
from recall_lightning.whole import folder_written_whole, written_whole


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


def keep(made: Prepared, path: Path) -> None:
    """Write prepared data, whole or not at all: a file, or, where its interactions are mapped, a folder."""
    if made.interactions.room is None:
        with written_whole(path) as file:
            np.savez(file, items=made.interactions.items.astype(np.int32), **_times(made), **_rest(made))
        return
    with folder_written_whole(path) as folder:
        for name, column in {"items": made.interactions.items, **_times(made)}.items():
            np.save(folder / f"{name}.npy", column)
        np.savez(folder / "rest.npz", **_rest(made))


def kept(path: Path, template: str, room: Room | None = None) -> Prepared:
    """Read what `keep` has written.

    Args:
        path: the file or the folder.
        template: of the items' texts.
        room: None for a file; of a folder, where to put what is made of its interactions, which stay on disk.
    """
    with np.load(path if room is None else path / "rest.npz", allow_pickle=False) as archive:
        told = json.loads(str(archive["told"]))
        lists = {
            name: _unpacked(archive[f"{name}/bytes"], archive[f"{name}/offsets"])
            for name in ("user_ids", "ids", "texts", "titles")
        }
        offsets = archive["offsets"]
        if room is None:
            items, times = archive["items"].astype(np.int64), archive.get("times")
        else:
            items = _mapped(path / "items.npy")
            times = _mapped(path / "times.npy") if (path / "times.npy").is_file() else None
    grouped = Interactions(lists.pop("user_ids"), items, times, offsets, room)
    return Prepared(grouped, Catalogue(template=template, **lists), **told)


def _times(made: Prepared) -> dict[str, NDArray[Any]]:
    return {} if made.interactions.times is None else {"times": made.interactions.times}


def _rest(made: Prepared) -> dict[str, Any]:
    """All but the columns of the interactions."""
    catalogue = made.catalogue
    told = {
        "n_read": made.n_read, "left_out": made.left_out, "broken": made.broken, "n_repeated": made.n_repeated,
        "n_items_read": made.n_items_read, "n_items_without_text": made.n_items_without_text,
        "n_without_text": made.n_without_text,
    }  # fmt: skip
    arrays: dict[str, Any] = {"told": json.dumps(told), "offsets": made.interactions.offsets}
    lists = {
        "user_ids": made.interactions.user_ids, "ids": catalogue.ids, "texts": catalogue.texts,
        "titles": catalogue.titles,
    }  # fmt: skip
    for name, strings in lists.items():
        arrays[f"{name}/bytes"], arrays[f"{name}/offsets"] = _packed(strings)
    return arrays


def _mapped(path: Path) -> NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r"))


def _packed(strings: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [text.encode() for text in strings]
    lengths = np.array([len(text) for text in encoded], np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets_of(lengths)


def _unpacked(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[str]:
    whole, ends = data.tobytes(), offsets.tolist()
    return [whole[start:stop].decode() for start, stop in itertools.pairwise(ends)]
