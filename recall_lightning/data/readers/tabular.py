"""Reader of a user's own tables: of interactions, of items, of users."""

from pathlib import Path

import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.columns import interaction_log
from recall_lightning.data.readers.entities import described, users_of
from recall_lightning.data.readers.tables import editor_line, read_table
from recall_lightning.data.users import Users


class Tabular(Reader):
    """Interactions, items and users from CSV, TSV, Parquet or JSON Lines (.gz and .zst too).

    Items have the columns of their file, and users those of theirs.

    Args:
        interactions: file with columns `user_id`, `item_id` and optionally `timestamp` and `weight`.
        items: file with a column `item_id` and the columns that `data.text` names.
        encoding: of text files.
        users: file with a column `user_id` and columns of what is known of the users.
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
        user_column: the files' own name for `user_id`.
        item_column: the files' own name for `item_id`.
        time_column: the interactions' own name for `timestamp`.
        weight_column: the interactions' own name for `weight`.
    """

    def __init__(
        self, interactions: str, items: str, encoding: str = "utf-8", users: str | None = None,
        max_broken_share: float = 0.0, user_column: str = "user_id", item_column: str = "item_id",
        time_column: str = "timestamp", weight_column: str = "weight",
    ) -> None:  # fmt: skip
        super().__init__(max_broken_share)
        self.interactions = Path(interactions)
        self.items = Path(items)
        self.encoding = encoding
        self.users = None if users is None else Path(users)
        self.user_column, self.item_column = user_column, item_column
        self.time_column, self.weight_column = time_column, weight_column

    def read_interactions(self) -> InteractionLog:
        table, sieve = self._read(self.interactions)
        asked = {self.time_column, self.weight_column} - {"timestamp", "weight"}  # by a name of their own
        return interaction_log(
            table, sieve, user=self.user_column, item=self.item_column, time=self.time_column,
            weight=self.weight_column, required=sorted(asked),
        )  # fmt: skip

    def read_items(self, template: str) -> Catalogue:
        table, sieve = self._read(self.items)
        return described(table, template, sieve, item=self.item_column)

    def read_users(self) -> Users | None:
        if self.users is None:
            return None
        table, sieve = self._read(self.users)
        return users_of(table, sieve, user=self.user_column)

    def _read(self, path: Path) -> tuple[pa.Table, Sieve]:
        sieve = self._sieve(path)
        return read_table(path, encoding=self.encoding, sieve=sieve), sieve


def read_interactions(path: str | Path, *, encoding: str = "utf-8") -> InteractionLog:
    """Read a table of interactions: `user_id,item_id[,timestamp][,weight]`.

    MovieLens' own `u.data` and `ratings.dat` are read too.

    Raises:
        InputError: if the file or a row of it can't be used; the message says where and why.
    """
    from recall_lightning.data.readers.movielens import RATINGS, read_ratings

    path = Path(path)
    if path.name in RATINGS:
        return read_ratings(path, _strict(path, first_row=1))
    return interaction_log(read_table(path, encoding=encoding), _strict(path))


def read_items(path: str | Path, template: str, *, encoding: str = "utf-8") -> Catalogue:
    """Read a table of items and make their texts by the template.

    Raises:
        InputError: if the file or a row of it can't be used; the message says where and why.
    """
    path = Path(path)
    return described(read_table(path, encoding=encoding), template, _strict(path))


def _strict(path: Path, *, first_row: int = 2) -> Sieve:
    """A sieve to which the first broken row is an error."""
    return Sieve(path, line_of=lambda place: editor_line(path, place, first_row))
