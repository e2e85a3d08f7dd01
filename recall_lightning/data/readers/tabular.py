"""Reader of a user's own tables: one of interactions, one of items."""

from pathlib import Path

import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue, describe
from recall_lightning.data.interactions import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.columns import interaction_log
from recall_lightning.data.readers.tables import column, editor_line, read_table
from recall_lightning.data.template import Template
from recall_lightning.errors import InputError


class Tabular(Reader):
    """Interactions and items from CSV, TSV, Parquet or JSON Lines (.gz and .zst too).

    Args:
        interactions: file with columns `user_id`, `item_id` and optionally `timestamp` and `weight`.
        items: file with a column `item_id` and the columns that `data.text` names.
        encoding: of text files.
    """

    def __init__(self, interactions: str, items: str, encoding: str = "utf-8") -> None:
        self.interactions = Path(interactions)
        self.items = Path(items)
        self.encoding = encoding

    def read_interactions(self) -> InteractionLog:
        return read_interactions(self.interactions, encoding=self.encoding)

    def read_items(self, template: str) -> Catalogue:
        return read_items(self.items, template, encoding=self.encoding)


def read_interactions(path: str | Path, *, encoding: str = "utf-8") -> InteractionLog:
    """Read a table of interactions: `user_id,item_id[,timestamp][,weight]`.

    MovieLens' own `u.data` and `ratings.dat` are read too.

    Raises:
        InputError: if the file or a row of it can't be used; the message says where and why.
    """
    from recall_lightning.data.readers.movielens import RATINGS, read_ratings

    path = Path(path)
    if path.name in RATINGS:
        return read_ratings(path)
    return interaction_log(read_table(path, encoding=encoding), path)


def read_items(path: str | Path, template: str, *, encoding: str = "utf-8") -> Catalogue:
    """Read a table of items and make their texts by the template.

    Raises:
        InputError: if the file or a row of it can't be used; the message says where and why.
    """
    path = Path(path)
    return described(read_table(path, encoding=encoding), template, path)


def described(table: pa.Table, template: str, path: Path, *, first_row: int = 2) -> Catalogue:
    """The catalogue of a table with a column `item_id`."""
    if len(table) == 0:
        raise InputError(f"{path}: no row after the header. Each item needs one")
    column(table, "item_id", path)  # its absence is told before the template's columns are looked for
    made = Template(template)
    made.check(table.column_names, str(path))
    used = {"item_id", "title", "name", *made.fields}  # the others may hold what is no text
    columns = {name: column(table, name, path).to_pylist() for name in table.column_names if name in used}
    return describe(columns, template, str(path), line=lambda row: editor_line(path, row, first_row))
