"""Reader of Book-Crossing, as Ziegler published it and as it is packed again on Kaggle."""

import csv
import html
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.columns import interaction_log
from recall_lightning.data.readers.compressed import read_bytes
from recall_lightning.data.readers.entities import described, users_of
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError

_RATINGS = {"User-ID": "user_id", "ISBN": "item_id", "Book-Rating": "weight"}
_BOOKS = {
    "ISBN": "item_id", "Book-Title": "title", "Book-Author": "author", "Year-Of-Publication": "year",
    "Publisher": "publisher",
}  # fmt: skip
_USERS = {"User-ID": "user_id", "Location": "location", "Age": "age"}


class BookCrossing(Reader):
    r"""Book-Crossing: `BX-Book-Ratings.csv`, `BX-Books.csv` and perhaps `BX-Users.csv`, or Kaggle's `Ratings.csv` etc.

    Items have the columns `title`, `author`, `year` and `publisher`, users `location` and `age`. A rating is an
    interaction's weight, 0 where a user met a book without rating it. There are no times, and row order carries none:
    split by draw. Ids stay as they are, though some ISBN differ in case alone.

    A line is a row; fields of the first layout may hold `\"`, those of the second `""`. A file that is no UTF-8 is
    latin-1.

    Args:
        path: the folder.
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
    """

    def __init__(self, path: str, max_broken_share: float = 0.01) -> None:
        super().__init__(max_broken_share)
        self.path = Path(path)

    def read_interactions(self) -> InteractionLog:
        return interaction_log(*self._read("BX-Book-Ratings.csv", "Ratings.csv", _RATINGS))

    def read_items(self, template: str) -> Catalogue:
        table, sieve = self._read("BX-Books.csv", "Books.csv", _BOOKS)
        year = pc.if_else(pc.match_substring_regex(table["year"], r"^[1-9]\d*$"), table["year"], "")
        columns = {name: _unescaped(table[name]) for name in ("title", "author", "publisher")}
        return described(pa.table({"item_id": table["item_id"], "year": year, **columns}), template, sieve)

    def read_users(self) -> Users | None:
        if not any((self.path / name).is_file() for name in ("BX-Users.csv", "Users.csv")):
            return None
        table, sieve = self._read("BX-Users.csv", "Users.csv", _USERS)
        age = pc.replace_substring_regex(table["age"], r"\.0$", "")  # so in Kaggle's files
        columns = {"location": _unescaped(table["location"]), "age": pc.if_else(pc.equal(age, "NULL"), "", age)}
        return users_of(pa.table({"user_id": table["user_id"], **columns}), sieve)

    def _read(self, name: str, kaggle: str, columns: dict[str, str]) -> tuple[pa.Table, Sieve]:
        """Some columns of the file, by our names."""
        path = next((self.path / n for n in (name, kaggle) if (self.path / n).is_file()), None)
        if path is None:
            raise InputError(
                f"{self.path}: neither {name} nor {kaggle} is here. Give the folder that holds Book-Crossing"
            )
        lines = _lines(read_bytes(path))
        filled = np.flatnonzero(pc.match_substring_regex(lines, r"[^\r\n]").to_numpy(zero_copy_only=False))
        sieve = self._sieve(path, line_of=lambda place: int(filled[place + 1]) + 1)
        if len(filled) == 0:
            raise InputError(f"{path}: the file is empty. It needs a header row and a row for each entry")
        table = _table(lines.take(pa.array(filled)) if len(filled) < len(lines) else lines, list(columns), path, sieve)
        return table.rename_columns([columns[theirs] for theirs in table.column_names]), sieve


def _lines(data: bytes) -> pa.LargeStringArray:
    """Each line of a file, with its end."""
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("latin-1").encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if not data.endswith(b"\n") and data:
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))


def _table(lines: pa.LargeStringArray, wanted: list[str], path: Path, sieve: Sieve) -> pa.Table:
    """The wanted columns of lines of which the first is the header.

    Arrow takes a line end inside quotes for a part of the field, so that a stray quote would join rows without a word.
    Lines that are no row by themselves are therefore left out before.
    """
    header = lines[0].as_py().removeprefix("\ufeff").strip()
    delimiter, escape = (";", "\\") if header.count(";") > header.count(",") else (",", None)
    names = next(csv.reader([header], delimiter=delimiter, escapechar=escape))
    for name in wanted:
        if name not in names:
            raise InputError(f"{path}, row 1: no column '{name}', only {', '.join(names)}. Rename one in the header")
    lines = lines.slice(1)
    whole = pc.match_substring_regex(lines, _row_pattern(delimiter, escape, len(names)))
    for place in np.flatnonzero(~whole.to_numpy(zero_copy_only=False)).tolist():
        reason = _fault(lines[place].as_py(), delimiter, escape, len(names))
        sieve.refuse(place, reason, "Mend it, or take it out")
    kept = lines.filter(whole)
    sieve.begin(len(kept), "entry")
    return pacsv.read_csv(
        pa.BufferReader(_joined(kept)),
        pacsv.ReadOptions(column_names=names, use_threads=False),
        pacsv.ParseOptions(delimiter=delimiter, escape_char=escape or False),
        pacsv.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
        ),
    )


def _joined(lines: pa.LargeStringArray) -> pa.Buffer:
    _, offsets, data = lines.buffers()
    ends = np.frombuffer(offsets, np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return data.slice(int(ends[0]), int(ends[-1] - ends[0]))


def _row_pattern(delimiter: str, escape: str | None, n_fields: int) -> str:
    """What a row looks like: that many fields, each without quotes or with one at both ends."""
    inside = r'[^"\\\r\n]|\\[^\r\n]|""' if escape else r'[^"\r\n]|""'
    plain = rf'[^"\\{delimiter}\r\n][^\\{delimiter}\r\n]*' if escape else rf'[^"{delimiter}\r\n][^{delimiter}\r\n]*'
    field = rf'(?:"(?:{inside})*"|{plain}|)'
    return rf"^{field}(?:{delimiter}{field}){{{n_fields - 1}}}\r?\n?$"


def _fault(line: str, delimiter: str, escape: str | None, n_fields: int) -> str:
    """Why a line is no row."""
    reader = csv.reader([line.rstrip("\r\n")], delimiter=delimiter, escapechar=escape, strict=True)
    try:
        found = len(next(reader))
    except csv.Error:
        found = n_fields
    return "a stray quote" if found == n_fields else f"{found} fields where the header has {n_fields}"


def _unescaped(texts: pa.ChunkedArray) -> pa.Array:
    """Texts without HTML entities."""
    texts = texts.combine_chunks()
    escaped = pc.match_substring(texts, "&")
    plain = [html.unescape(text) for text in texts.filter(escaped).to_pylist()]
    return pc.replace_with_mask(texts, escaped, pa.array(plain, pa.string()))
