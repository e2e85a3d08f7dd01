"""What a reader gives: interactions, the items they are with, and what is known of the users."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interaction_log import InteractionLog, LogInParts
from recall_lightning.data.readers.broken import BrokenRows, Sieve
from recall_lightning.data.readers.tables import editor_line
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError
from recall_lightning.recipe import Recipe


class Reader(Recipe, ABC):
    """A source of interactions and items; a config names one by `data.reader.class_path`.

    Args:
        max_broken_share: share of a file's rows that may be broken, and are then left out and counted; 0 makes the
            first broken row an error.
    """

    def __init__(self, max_broken_share: float = 0.0) -> None:
        if not 0 <= max_broken_share <= 1:
            raise InputError(
                f"data.reader.init_args.max_broken_share is {max_broken_share}, but a share lies between 0 (none) and "
                "1: give one such as 0.01"
            )
        self.max_broken_share = max_broken_share
        self._sieves: dict[Path, Sieve] = {}

    @abstractmethod
    def read_interactions(self) -> InteractionLog:
        """All interactions, in the file's order.

        Raises:
            InputError: if a file is missing or can't be used.
        """

    def in_parts(self) -> LogInParts | None:
        """All interactions, to be read part by part, where they may outgrow memory; None where they are read whole.

        Raises:
            InputError: if a file is missing or can't be used.
        """
        return None

    @abstractmethod
    def read_items(self, template: str) -> Catalogue:
        """All items, with texts by the template (see `Template`).

        Raises:
            InputError: if a file is missing or can't be used.
        """

    def read_users(self) -> Users | None:
        """What is known of the users; None where the source says nothing.

        Raises:
            InputError: if a file is missing or can't be used.
        """
        return None

    def files(self) -> list[Path]:
        """Files that exist and that it may read whole: paths among its attributes, and what lies in folders."""
        paths = [path for path in vars(self).values() if isinstance(path, Path)]
        inside = [file for path in paths if path.is_dir() for file in sorted(path.iterdir())]
        return [path for path in [*paths, *inside] if path.is_file()]

    @property
    def broken(self) -> list[BrokenRows]:
        """What the reads so far left out: an entry for each file and reason. Reading a file again starts it anew."""
        return [entry for sieve in self._sieves.values() for entry in sieve.broken]

    def _sieve(self, path: Path, *, first_row: int = 2, line_of: Callable[[int], int] | None = None) -> Sieve:
        """A new count of the file's broken rows.

        Args:
            path: the file.
            first_row: the line of its first row (2 where there is a header).
            line_of: where a row stands, for a file that `editor_line` doesn't count right.
        """
        self._sieves[path] = Sieve(
            path, self.max_broken_share, line_of=line_of or (lambda place: editor_line(path, place, first_row))
        )
        return self._sieves[path]
