"""Tables for the terminal."""

import unicodedata
from collections.abc import Sequence

_WIDEST = 72  # longer cells are cut: a table that wraps can't be read


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header; columns of numbers are aligned at the right."""
    cells = [[_cut(cell) for cell in row] for row in [header, *rows]]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(header))]
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    for number, row in enumerate(cells):
        padded = [
            " " * (width - _width(cell)) + cell if right else cell + " " * (width - _width(cell))
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(padded).rstrip())
        if number == 0:
            print("  ".join("─" * width for width in widths))


def _cut(cell: str) -> str:
    cell = " ".join(cell.split())
    return cell if len(cell) <= _WIDEST else cell[: _WIDEST - 1] + "…"


def _width(cell: str) -> int:
    """Columns in a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell if not unicodedata.combining(c))


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%×") or "0")
    except ValueError:
        return cell == "–"
    return True
