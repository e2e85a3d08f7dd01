"""Attributes: what a table says of items beside their texts."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from recall_lightning.data.readers.tables import column, read_table
from recall_lightning.errors import InputError


@dataclass(frozen=True)
class Attributes:
    """A table of items, whose columns lists are filtered and limited by.

    Attributes:
        path: the file.
        table: its columns, `item_id` among them.
        separator: between several values in one field; None where a field is one value.
    """

    path: Path
    table: pa.Table
    separator: str | None = None

    @classmethod
    def read(cls, path: str | Path, separator: str | None = None) -> Self:
        """Read a table of items.

        Args:
            path: CSV, TSV, Parquet, JSON Lines or RecBole's .item, with a column `item_id`.
            separator: as of the class.

        Raises:
            InputError: if the file can't be read, or the separator is empty.
        """
        if separator == "":
            raise InputError("separator is empty: give what stands between two values, such as ','; or none at all")
        path = Path(path)
        made = cls(path, read_table(path), separator)
        column(made.table, "item_id", path)
        return made

    def values(self, name: str, item_ids: Sequence[str]) -> list[list[str]]:
        """The values of a column for each item; none for an item that the table lacks, or whose field is empty.

        Raises:
            InputError: if there is no such column.
        """
        ids, fields = (column(self.table, each, self.path).to_pylist() for each in ("item_id", name))
        of_item = dict(zip(ids, (self._split(field) for field in fields), strict=True))
        return [of_item.get(item, []) for item in item_ids]

    def check(self, name: str, wanted: Sequence[str]) -> None:
        """Refuse values that no item has.

        Raises:
            InputError: if a value is none of the column's.
        """
        known = {
            value
            for values in self.values(name, column(self.table, "item_id", self.path).to_pylist())
            for value in values
        }
        for value in wanted:
            if value not in known:
                near = difflib.get_close_matches(value, known, 3, 0) or ["none at all"]
                cut = "" if self.separator else " If a field holds several, name what stands between them (separator)."
                raise InputError(
                    f"{self.path}: no item has {name} '{value}'. The nearest of its {len(known)} values: "
                    f"{', '.join(near)}.{cut}"
                )

    def _split(self, field: str) -> list[str]:
        parts = field.split(self.separator) if self.separator else [field]
        return list(dict.fromkeys(stripped for part in parts if (stripped := part.strip())))
