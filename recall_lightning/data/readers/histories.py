"""Reader of histories and items as two JSON files."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from recall_lightning.data.catalogue import Catalogue, describe
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.json_values import id_of, text_of
from recall_lightning.errors import InputError


class JsonHistories(Reader):
    """Histories `{user: [item, ...]}`, oldest first, and items `{item: {column: value}}`.

    Items have the columns that any of them has. Ids may be numbers in one file and strings in the other: 7 is "7".
    There are no times: the histories' order is time order.

    Args:
        interactions: JSON file of histories.
        items: JSON file of items.
    """

    def __init__(self, interactions: str, items: str) -> None:
        super().__init__()
        self.interactions = Path(interactions)
        self.items = Path(items)

    def read_interactions(self) -> InteractionLog:
        path = self.interactions
        users: dict[str, int] = {}
        items: dict[str, int] = {}
        lengths, taken = [], []
        for user, history in _object(path, "Write {user: [item, ...]}, oldest item first").items():
            if not isinstance(history, list):
                raise InputError(f"{path}, key {user!r}: {_shown(history)} is no list of items. Write [item, ...]")
            if not history:
                continue
            users[_id(user, path, user)] = len(users)
            lengths.append(len(history))
            taken.extend([items.setdefault(_id(item, path, user), len(items)) for item in history])
        if not taken:
            raise InputError(f"{path}: no interaction of any user. Write {{user: [item, ...]}}")
        user_rows = np.repeat(np.arange(len(lengths)), lengths)
        return InteractionLog(path.name, list(users), list(items), user_rows, np.array(taken, np.int64))

    def read_items(self, template: str) -> Catalogue:
        path = self.items
        entries = _object(path, "Write {item: {column: value}}")
        for item, entry in entries.items():
            if not isinstance(entry, dict):
                raise InputError(f"{path}, key {item!r}: {_shown(entry)} is no object. Write {{column: value}}")
            _id(item, path, item)
        if not entries:
            raise InputError(f"{path}: no item. Write {{item: {{column: value}}}}")
        columns: dict[str, list[str]] = {"item_id": list(entries)}
        for name in dict.fromkeys(name for entry in entries.values() for name in entry if name != "item_id"):
            columns[name] = [text_of(entry.get(name)) for entry in entries.values()]
        return describe(columns, template, str(path))


def _object(path: Path, cure: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # of UTF-8 too
        raise InputError(f"{path}: no JSON ({error}). {cure}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: {_shown(content)} is no JSON object. {cure}")
    return content


def _id(value: object, path: Path, key: str) -> str:
    found = id_of(value)
    if found is None:
        raise InputError(f"{path}, key {key!r}: {_shown(value)} is no id. Write a string or a whole number")
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
