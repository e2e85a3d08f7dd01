"""Reader of Amazon reviews, as McAuley's group published them in 2014, 2018 and 2023."""

import ast
import io
import json
import math
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue, describe
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.json_values import id_of, text_of
from recall_lightning.data.template import Template
from recall_lightning.errors import InputError

T = TypeVar("T")

_USER, _ITEM = ("user_id", "reviewerID"), ("parent_asin", "asin")  # the names of 2023, then those before
_TIME, _STARS = ("timestamp", "unixReviewTime"), ("rating", "overall")
_COLUMNS = {  # ours: theirs, and what joins the parts of a list
    "title": (("title",), " "),
    "brand": (("brand", "store"), ", "),
    "description": (("description",), " "),
    "features": (("features", "feature"), " "),
    "categories": (("categories", "category"), ", "),
}


class AmazonReviews(Reader):
    """Amazon reviews of 2014, 2018 or 2023: a file of reviews, one of products, an object a line (.gz and .zst too).

    Items have the columns `title`, `brand` (of 2023: the store), `description`, `features` and `categories`; lists are
    joined. An item is an `asin`, of 2023 the `parent_asin` that joins a product's variants. Where an item has several
    rows, each column takes the first value there is. Stars are an interaction's weight.

    Args:
        reviews: file of reviews, such as `Office_Products_5.json.gz`.
        metadata: file of products, such as `meta_Office_Products.json.gz`.
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
    """

    def __init__(self, reviews: str, metadata: str, max_broken_share: float = 0.01) -> None:
        super().__init__(max_broken_share)
        self.reviews = Path(reviews)
        self.metadata = Path(metadata)

    def read_interactions(self) -> InteractionLog:
        sieve = self._sieve(self.reviews, line_of=lambda place: place + 1)
        users: dict[str, int] = {}
        items: dict[str, int] = {}
        user_rows, item_rows, times, weights = array("q"), array("q"), array("d"), array("d")
        for user, item, time, weight in _read(self.reviews, sieve, _review):
            user_rows.append(users.setdefault(user, len(users)))
            item_rows.append(items.setdefault(item, len(items)))
            times.append(time)
            weights.append(weight)
        sieve.begin(len(times), "review")
        sieve.finish(len(times))
        seconds = np.array(times)
        whole = seconds.astype(np.int64)
        return InteractionLog(
            self.reviews.name, list(users), list(items), np.array(user_rows), np.array(item_rows),
            whole if (whole == seconds).all() else seconds, np.array(weights),
        )  # fmt: skip

    def read_items(self, template: str) -> Catalogue:
        made = Template(template)
        made.check(["item_id", *_COLUMNS], str(self.metadata))
        names = [name for name in _COLUMNS if name in {"title", *made.fields}]
        sieve = self._sieve(self.metadata, line_of=lambda place: place + 1)
        products: dict[str, list[str]] = {}
        n_rows = 0
        for item, *values in _read(self.metadata, sieve, lambda entry: [_id(entry, _ITEM), *_texts(entry, names)]):
            n_rows += 1
            known = products.setdefault(item, values)
            if known is not values:
                known[:] = [before or value for before, value in zip(known, values, strict=True)]
        sieve.begin(n_rows, "product")
        sieve.finish(n_rows)
        columns = {name: [values[i] for values in products.values()] for i, name in enumerate(names)}
        return describe({"item_id": list(products), **columns}, template, str(self.metadata))


class _BrokenError(Exception):
    """A row is broken: the reason that it shares with others, what is wrong with this one, the cure."""


def _read(path: Path, sieve: Sieve, take: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """What `take` makes of each line's object; lines are read one by one, as their values' types differ."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path")
    try:
        with io.BufferedReader(pa.input_stream(str(path), compression="detect")) as lines:
            for place, line in enumerate(lines):
                if not line.strip():
                    continue
                try:
                    taken = take(_entry(line))
                except _BrokenError as broken:
                    reason, what, cure = broken.args
                    sieve.refuse(place, reason, cure, what=what)
                else:
                    yield taken
    except OSError as error:
        raise InputError(f"{path}: not readable ({str(error).splitlines()[0]}). Get the file again") from error


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        try:
            entry = ast.literal_eval(line.decode().strip())  # the products of 2014 are Python's literals, not JSON
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last: nested too deep
            entry = None
    if not isinstance(entry, dict):
        shown = line.decode(errors="replace").strip()
        raise _BrokenError("no JSON object", f"{shown[:40]!r} is no JSON object", "Each line must hold one")
    return entry


def _review(entry: dict[str, Any]) -> tuple[str, str, float, float]:
    time = _number(entry, _TIME, "time")
    if "timestamp" in entry:
        time /= 1000  # 2023 counts milliseconds
    return _id(entry, _USER), _id(entry, _ITEM), time, _number(entry, _STARS, "weight")


def _texts(entry: dict[str, Any], names: list[str]) -> list[str]:
    texts = []
    for name in names:
        theirs, between = _COLUMNS[name]
        text = text_of(next((entry[key] for key in theirs if key in entry), None), between)
        # some titles of 2018 are pieces of a page's JavaScript; the publisher tells them by this word
        texts.append("" if name == "title" and "getTime" in text else text)
    return texts


def _id(entry: dict[str, Any], names: tuple[str, ...]) -> str:
    found = id_of(_value(entry, names))
    if found is None:
        name = next((name for name in names if name in entry), names[-1])
        raise _BrokenError(f"{name} is empty", f"{name} is {entry.get(name)!r}", "Fill it in, or take the row out")
    return found


def _number(entry: dict[str, Any], names: tuple[str, ...], kind: str) -> float:
    value = _value(entry, names)
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        name = next((name for name in names if name in entry), names[-1])
        raise _BrokenError(f"no {kind}", f"{name} is {value!r}, no number", "Write one, or take the row out")
    return number


def _value(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((entry[name] for name in names if name in entry), None)
