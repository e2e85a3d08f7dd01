"""Reader of RecBole's atomic files."""

from pathlib import Path

import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.columns import interaction_log
from recall_lightning.data.readers.entities import described, users_of
from recall_lightning.data.readers.tables import read_table
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError


class RecBole(Reader):
    """A folder with `NAME.inter`, `NAME.item` and perhaps `NAME.user`, tables by tabs under a `name:type` header.

    Items and users have the columns of their files, by the names in the header and with the values as written: a
    `token_seq` is a text of words parted by spaces. For MovieLens take `MovieLens`, which mends titles and genres.

    Args:
        path: the folder.
        weight_column: what becomes an interaction's weight, where the file has it.
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
        user_column: the files' name for users' ids.
        item_column: the files' name for items' ids.
        time_column: the name of the time, in seconds, where the file has it.
    """

    def __init__(
        self, path: str, weight_column: str = "rating", max_broken_share: float = 0.0, user_column: str = "user_id",
        item_column: str = "item_id", time_column: str = "timestamp",
    ) -> None:  # fmt: skip
        super().__init__(max_broken_share)
        self.path = Path(path)
        self.user_column, self.item_column = user_column, item_column
        self.time_column, self.weight_column = time_column, weight_column

    def read_interactions(self) -> InteractionLog:
        table, sieve = self._read(self._file("inter"))
        asked = {self.time_column, self.weight_column} - {"timestamp", "rating"}  # by a name of their own
        return interaction_log(
            table, sieve, user=self.user_column, item=self.item_column, time=self.time_column,
            weight=self.weight_column, required=sorted(asked),
        )  # fmt: skip

    def read_items(self, template: str) -> Catalogue:
        table, sieve = self._read(self._file("item"))
        return described(table, template, sieve, item=self.item_column)

    def read_users(self) -> Users | None:
        if not list(self.path.glob("*.user")):
            return None
        table, sieve = self._read(self._file("user"))
        return users_of(table, sieve, user=self.user_column)

    def _read(self, path: Path) -> tuple[pa.Table, Sieve]:
        sieve = self._sieve(path)
        return read_table(path, sieve=sieve), sieve

    def _file(self, kind: str) -> Path:
        found = sorted(self.path.glob(f"*.{kind}"))
        if not found:
            raise InputError(f"{self.path}: no file *.{kind} here. Give the folder that holds NAME.inter and NAME.item")
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise InputError(f"{self.path}: more than one file *.{kind}: {names}. Keep one data set a folder")
        return found[0]
