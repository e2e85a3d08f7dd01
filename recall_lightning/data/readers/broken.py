"""Broken rows of a file: left out and counted, or an error where more of them are broken than a config allows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recall_lightning.errors import InputError

_SHOWN = 3


@dataclass(frozen=True)
class BrokenRows:
    """Rows of one file that were left out for one reason.

    Attributes:
        file: the file's name.
        rows: all rows of the file, kept or not. Lines that a stray quote joined to one row count each.
        dropped: how many were left out for this reason.
        reason: what was wrong with them.
        lines: where the first three stand, as an editor counts.
    """

    file: str
    rows: int
    dropped: int
    reason: str
    lines: tuple[int, ...]

    def __str__(self) -> str:
        where = ", ".join(map(str, self.lines)) + (", ..." if self.dropped > len(self.lines) else "")
        plural = "row" if self.dropped == 1 else "rows"
        return f"{self.file}: {self.dropped:,} of {self.rows:,} rows left out: {self.reason} ({plural} {where})"


@dataclass
class _Refused:
    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)  # (line, what is wrong with it)


class Sieve:
    """Keeps the usable rows of one file and counts the others.

    A row is known by its place among all rows of the file, from 0. Tables may lose rows on their way, by `refuse` while
    they are read and by `sift` after that; `line` still finds each in the file. A file may be read as several tables:
    `go_on` then comes between them.

    Args:
        path: the file.
        max_share: share of its rows that may be broken; 0 makes the first broken row an error.
        line_of: where a row stands in the file, as an editor counts. May be slow: it is asked for a few rows alone.
    """

    def __init__(self, path: Path, max_share: float = 0.0, *, line_of: Callable[[int], int]) -> None:
        self.path, self.max_share = path, max_share
        self.broken: list[BrokenRows] = []
        self._line_of = line_of
        self._reasons: dict[str, _Refused] = {}
        self._refused: list[int] = []
        self._places: NDArray[np.int64] | None = None
        self._before = 0  # rows of tables that were read before this one

    def begin(self, n_rows: int, entry: str) -> None:
        """Check that the file has any row: before its columns are looked for, as an empty file may have none.

        Args:
            n_rows: rows that were read.
            entry: what a row of it is, such as `item`.

        Raises:
            InputError: if there is no row, or all are broken.
        """
        if n_rows == 0:
            self.finish(0)
            raise InputError(f"{self.path}: no row after the header. Each {entry} needs one")

    def refuse(self, place: int, reason: str, cure: str, *, what: str = "", rows: int = 1) -> None:
        """Leave out a row that is in no table.

        Args:
            place: its place in the file.
            reason: what is wrong, in words that rows with the same fault share.
            cure: how to mend it.
            what: what is wrong with this row; by default the reason.
            rows: how many rows of the file it is.

        Raises:
            InputError: if no row may be broken.
        """
        self._refused.append(place)
        self._count(np.array([place]), reason, cure, lambda _: what or reason, rows)

    def sift(
        self, table: pa.Table, usable: NDArray[np.bool_], reason: str, cure: str,
        what: Callable[[int], str] | None = None,
    ) -> pa.Table:  # fmt: skip
        """Leave out rows of a table.

        Args:
            table: the rows kept so far.
            usable: `(rows,)` whether a row stays.
            reason, cure: see `refuse`.
            what: what is wrong with a row of the table; by default the reason.

        Raises:
            InputError: if no row may be broken.
        """
        if usable.all():
            return table
        places, wrong = self._placed(len(table)), np.flatnonzero(~usable)
        self._count(places[wrong], reason, cure, lambda n: what(int(wrong[n])) if what else reason, len(wrong))
        self._places = places[usable]
        return table.filter(pa.array(usable))

    def line(self, row: int) -> int:
        """The line at which a row kept so far, counted from 0, stands in its file, as an editor counts."""
        place = row
        if self._places is not None:
            place = int(self._places[row])
        elif self._refused:
            for refused in sorted(self._refused):
                place += refused <= place
        return self._line_of(place)

    def go_on(self, n_rows: int) -> None:
        """Turn to the next table of the file.

        Args:
            n_rows: rows of the one that is done with, broken ones included.
        """
        self._before += n_rows
        self._refused, self._places = [], None

    def finish(self, kept: int) -> None:
        """Sum up in `broken`, when all rows were seen.

        Args:
            kept: how many of them are of use.

        Raises:
            InputError: if more than `max_share` of the rows are broken, or all.
        """
        dropped = sum(refused.count for refused in self._reasons.values())
        rows = kept + dropped
        self.broken = [
            BrokenRows(self.path.name, rows, refused.count, reason, tuple(line for line, _ in refused.first))
            for reason, refused in self._reasons.items()
        ]
        if dropped and (dropped > self.max_share * rows or not kept):
            first = sorted(line for refused in self._reasons.values() for line in refused.first)[:_SHOWN]
            shown = "; ".join(f"row {line}: {what}" for line, what in first)
            raise InputError(
                f"{self.path}: {dropped:,} of {rows:,} rows ({dropped / rows:.2%}) are broken, but "
                f"data.reader.init_args.max_broken_share allows {self.max_share:.2%}: {shown}. Mend the rows, or raise "
                "data.reader.init_args.max_broken_share"
            )

    def _placed(self, n_rows: int) -> NDArray[np.int64]:
        if self._places is None:
            self._places = np.delete(np.arange(n_rows + len(self._refused)), self._refused)
        return self._places

    def _count(self, places: NDArray[np.int64], reason: str, cure: str, what: Callable[[int], str], rows: int) -> None:
        places = places + self._before
        if self.max_share == 0:
            raise InputError(f"{self.path}, row {self._line_of(int(places[0]))}: {what(0)}. {cure}")
        refused = self._reasons.setdefault(reason, _Refused())
        refused.count += rows
        for n in range(min(len(places), _SHOWN - len(refused.first))):
            refused.first.append((self._line_of(int(places[n])), what(n)))
