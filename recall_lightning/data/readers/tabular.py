"""Reader of a user's own tables: of interactions, of items, of users."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog, LogInParts, LogPart
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.readers.broken import Sieve
from recall_lightning.data.readers.columns import interaction_log, usable_interactions
from recall_lightning.data.readers.entities import described, users_of
from recall_lightning.data.readers.shards import check_shards, read_batches, shards_of
from recall_lightning.data.readers.tables import editor_line, read_table
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError

_BYTES_A_ROW = 600  # what reading takes at its peak: four columns as strings, their numbers, and Arrow's copies of both


class Tabular(Reader):
    """Interactions, items and users from CSV, TSV, Parquet or JSON Lines (.gz and .zst too).

    Items have the columns of their file, and users those of theirs.

    Interactions in Parquet shards may outgrow memory: they are read, filtered, sorted, split and counted a part at a
    time, and trained on from files of the cache's folder.

    Args:
        interactions: file with columns `user_id`, `item_id` and optionally `timestamp` and `weight`; or a folder of
            Parquet shards with these, or a pattern such as `logs/2024-*.parquet`, rows in the order of the paths.
        items: file with a column `item_id` and the columns that `data.text` names.
        encoding: of text files.
        users: file with a column `user_id` and columns of what is known of the users.
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
        user_column: the files' own name for `user_id`.
        item_column: the files' own name for `item_id`.
        time_column: the interactions' own name for `timestamp`.
        weight_column: the interactions' own name for `weight`.
        memory_mb: MiB of memory for the interactions of shards at any time, whatever their number; ids of users and
            items, and what is kept of each user, come on top.
    """

    def __init__(
        self, interactions: str, items: str, encoding: str = "utf-8", users: str | None = None,
        max_broken_share: float = 0.0, user_column: str = "user_id", item_column: str = "item_id",
        time_column: str = "timestamp", weight_column: str = "weight", memory_mb: int = 512,
    ) -> None:  # fmt: skip
        super().__init__(max_broken_share)
        if memory_mb < 1:
            raise InputError(f"data.reader.init_args.memory_mb is {memory_mb}: give 1 or more, such as 512")
        self.memory_mb = memory_mb
        self.interactions = Path(interactions)
        self.items = Path(items)
        self.encoding = encoding
        self.users = None if users is None else Path(users)
        self.user_column, self.item_column = user_column, item_column
        self.time_column, self.weight_column = time_column, weight_column

    def read_interactions(self) -> InteractionLog:
        in_parts = self.in_parts()
        if in_parts is not None:
            return in_parts.whole()
        table, sieve = self._read(self.interactions)
        return interaction_log(table, sieve, **self._names, required=self._asked)

    def in_parts(self) -> LogInParts | None:
        shards = shards_of(self.interactions)
        if shards is None:
            return None
        n_rows = check_shards(shards, self._names.values())
        return LogInParts(self.interactions.name, n_rows, lambda: self._parts(shards), self.memory_mb, shards)

    def _parts(self, shards: list[Path]) -> Iterator[LogPart]:
        rows = max(1, self.memory_mb * 2**20 // _BYTES_A_ROW)
        for shard in shards:
            sieve, kept = self._sieve(shard), 0
            for table in read_batches(shard, self._names.values(), rows):
                part = usable_interactions(table, sieve, **self._names, required=self._asked)
                sieve.go_on(len(table))
                kept += len(part.users)
                yield part
            sieve.finish(kept)

    def files(self) -> list[Path]:
        """All but those of the shards' folder."""
        named = {self.items, self.users}
        return [path for path in super().files() if path in named or self.interactions not in path.parents]

    @property
    def _names(self) -> dict[str, str]:
        """What the columns are called."""
        return {
            "user": self.user_column, "item": self.item_column, "time": self.time_column, "weight": self.weight_column
        }  # fmt: skip

    @property
    def _asked(self) -> list[str]:
        """Columns that are named by a config, and so have to be there."""
        return sorted({self.time_column, self.weight_column} - {"timestamp", "weight"})

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
