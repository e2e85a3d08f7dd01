"""Flags of filters and guard rails."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recall_lightning.retrieval.rails import Rails


def add_rails(parser: argparse.ArgumentParser, *, filters: bool) -> None:
    """Add the flags; those of filters are for `recommend` alone."""
    group = parser.add_argument_group("guard rails" if not filters else "filters and guard rails")
    if filters:
        group.add_argument(
            "--where", action="append", default=[], metavar="COLUMN=VALUE",
            help="only items with this value in a column of --attributes; repeated for one column: with any of the "
            "values, for several: in all",
        )  # fmt: skip
    group.add_argument("--block", action="append", default=[], metavar="ID", help="never this item; may be repeated")
    group.add_argument("--block-file", metavar="B.csv", help="a column item_id: never these items")
    group.add_argument(
        "--block-text", action="append", default=[], metavar="REGEX",
        help="never an item whose text this is found in, such as '(?i)horror'; may be repeated",
    )  # fmt: skip
    group.add_argument("--block-text-file", metavar="B.txt", help="such expressions, one a line")
    group.add_argument(
        "--quota", action="append", default=[], metavar="COLUMN=N",
        help="at most N items of each value of a column of --attributes in a list, which may end before k by it; may "
        "be repeated",
    )  # fmt: skip
    group.add_argument(
        "--mmr", type=float, metavar="LAMBDA",
        help="maximal marginal relevance: 1 is the model's own list, 0 diversity alone; score is then what an item was "
        "chosen by",
    )  # fmt: skip
    group.add_argument(
        "--popularity-penalty", type=float, default=0.0, metavar="P",
        help="rank by score - P t log(1 + training interactions), t the model's temperature (default 0)",
    )  # fmt: skip
    group.add_argument(
        "--attributes", metavar="A.csv",
        help="item_id and the columns that are named" + (" (default --items)" if filters else ""),
    )  # fmt: skip
    group.add_argument(
        "--separator",
        metavar="TEXT",
        help="what stands between several values in one field of --attributes, such as ','",
    )


def rails_of(args: argparse.Namespace, items: str | None = None) -> "Rails":
    """The rails that flags ask for.

    Args:
        args: of a parser with `add_rails`.
        items: the table that attributes are read from if no other is named.

    Raises:
        InputError: if a flag is wrong, or a file can't be read.
    """
    from pathlib import Path

    from recall_lightning.data.readers.tables import column, read_table
    from recall_lightning.errors import InputError
    from recall_lightning.retrieval.attributes import Attributes
    from recall_lightning.retrieval.rails import Rails

    blocked, patterns = list(args.block), list(args.block_text)
    if args.block_file:
        path = Path(args.block_file)
        blocked += column(read_table(path), "item_id", path).to_pylist()
    if args.block_text_file:
        try:
            lines = Path(args.block_text_file).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise InputError(f"--block-text-file {args.block_text_file}: {error.strerror}. Check the path") from error
        patterns += [line for line in lines if line.strip()]
    where: dict[str, list[str]] = {}
    for name, value in _pairs("--where", getattr(args, "where", [])):
        where.setdefault(name, []).append(value)
    quotas = {}
    for name, most in _pairs("--quota", args.quota):
        if not most.isascii() or not most.isdigit():
            raise InputError(f"--quota {name}={most}: '{most}' is no number of items. Give one such as {name}=3")
        quotas[name] = int(most)
    table = args.attributes or items
    if (where or quotas) and not table:
        flag = f"--where {next(iter(where))}" if where else f"--quota {next(iter(quotas))}"
        raise InputError(
            f"{flag}: there is no table to look it up in. Name one with item_id and this column: --attributes"
        )
    attributes = Attributes.read(str(table), args.separator) if where or quotas else None
    return Rails(blocked, patterns, where, quotas, args.mmr, args.popularity_penalty, attributes)


def _pairs(flag: str, given: Sequence[str]) -> list[tuple[str, str]]:
    from recall_lightning.errors import InputError

    pairs = []
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise InputError(
                f"{flag} {text}: it has no = between a column and a value. Write it as {flag} COLUMN=VALUE"
            )
        pairs.append((name, value))
    return pairs
