"""Fitted contenders' rankings on disk, so that one more model in a comparison refits none of the others."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.evaluate import Rankings
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.splits import Cases
from recall_lightning.whole import written_whole

VERSION = 1  # raise it where a contender comes to compute something else


@dataclass(frozen=True)
class Result:
    """What a contender did.

    Attributes:
        rankings: by the name of the cases, such as `test`.
        settings: those that were chosen.
        validation: recall@10 on the validation cases, NaN where nothing was chosen.
        seconds: of learning once, with the chosen settings.
        all_seconds: of everything, all trials and rankings included.
        memory: bytes that the process grew by at most while it learned.
    """

    rankings: Mapping[str, Rankings]
    settings: dict[str, Any]
    validation: float
    seconds: float
    all_seconds: float
    memory: int


def data_fingerprint(data: RecallDataModule, *more: Cases) -> str:
    """A hash of all that a contender can see: texts, tokens' limits, the training part and the cases, `more` too."""
    digest = hashlib.blake2b(digest_size=16)

    def add(part: Any) -> None:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    for text in [*data.catalogue.ids, *data.catalogue.texts]:
        add(text.encode())
    add(f"{data.max_text_tokens} {data.splits}".encode())
    train = data.split.train
    for array in (train.items, train.offsets, train.times, data.split.held_items):
        add(_bytes(array))
    for cases in [data.split.validation, data.split.test, *data.split.apart.values(), *more]:
        _add_cases(add, cases)
    return digest.hexdigest()


def _add_cases(add: Any, cases: Cases) -> None:
    for array in (cases.interactions.items, cases.history, cases.targets, cases.known, cases.among):
        add(_bytes(array))


def _bytes(array: NDArray[Any] | None) -> Any:
    """An array's bytes where they are: it may be mapped from a file that memory can't hold."""
    return b"" if array is None else np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class Cache:
    """Results in a folder, each in a file named by the hash of the data and the contender.

    Args:
        folder: made where it is missing; None keeps nothing.
        data: hash of the data, as of `data_fingerprint`.
        part: which cases are ranked.
    """

    def __init__(self, folder: Path | None, data: str, part: str) -> None:
        self.folder, self.data, self.part = folder, data, part

    def path(self, contender: Contender) -> Path | None:
        """The contender's file."""
        if self.folder is None:
            return None
        kind = f"{type(contender).__module__}.{type(contender).__qualname__}"
        grids = [*contender.fit_grid.items(), *contender.score_grid.items()]
        what = json.dumps([VERSION, self.data, self.part, kind, contender.identity, grids], sort_keys=True)
        return self.folder / f"compared-{hashlib.blake2b(what.encode(), digest_size=16).hexdigest()}.npz"

    def read(self, contender: Contender) -> Result | None:
        """What was kept of an equal contender on equal data; None if nothing was."""
        path = self.path(contender)
        if path is None or not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as kept:
            told = json.loads(str(kept["told"]))
            arrays = {name: torch.from_numpy(kept[name].astype(np.int64)) for name in kept.files if name != "told"}
        rankings = {
            name: Rankings(arrays[f"{name}/ranks"], arrays[f"{name}/lists"], arrays.get(f"{name}/among"))
            for name in told.pop("cases")
        }
        return Result(rankings, **told)

    def write(self, contender: Contender, result: Result) -> None:
        """Keep a result, whole or not at all."""
        path = self.path(contender)
        if path is None:
            return
        arrays: dict[str, Any] = {}
        for name, rankings in result.rankings.items():
            arrays[f"{name}/ranks"] = rankings.ranks.numpy()
            arrays[f"{name}/lists"] = rankings.lists.numpy().astype(np.int32)
            if rankings.among is not None:
                arrays[f"{name}/among"] = rankings.among.numpy()
        told = {
            "cases": list(result.rankings), "settings": result.settings, "validation": result.validation,
            "seconds": result.seconds, "all_seconds": result.all_seconds, "memory": result.memory,
        }  # fmt: skip
        with written_whole(path) as file:
            np.savez_compressed(file, told=json.dumps(told), **arrays)
