"""`compare`: baselines and checkpoints on a config's own split."""

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from recall_lightning.cli.guarding import add_rails, rails_of
from recall_lightning.cli.main import add_config, positive

if TYPE_CHECKING:
    from pathlib import Path

    from recall_lightning.baselines.base import Contender, UnavailableError
    from recall_lightning.baselines.cache import Result
    from recall_lightning.baselines.report import Figure
    from recall_lightning.data.datamodule import RecallDataModule

QUICK = (
    "popularity", "recent", "first", "last", "markov", "item-knn", "user-knn", "ease", "ials", "bpr", "tf-idf", "bm25",
    "encoder",
)  # fmt: skip
SLOW = ("sentence-transformers", "sasrec", "sasrec-text")  # not where they are made: help answers before torch loads

SUMMARY = "baselines and checkpoints side by side, on the config's own split and metrics"
EXAMPLE = (
    "recall-lightning compare --config configs/movielens-100k.yaml "
    "--ckpt runs/movielens-100k/version_0/checkpoints/best.ckpt --out comparison"
)

_MOST_GROUPS = 50  # of users, by a column: each is a column of the table, with intervals for every model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--ckpt", action="append", default=[], metavar="C.ckpt", help="a trained model; may be repeated"
    )
    parser.add_argument(
        "--transfer", action="append", default=[], metavar="C.ckpt",
        help="a model trained on other data, asked as it is, by the items' texts alone; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--fuse",
        metavar="A,B",
        help="baselines to fuse each --ckpt with, one at a time: a weighted sum of scores or of reciprocal ranks, by "
        "validation; by default what `fit --auto.minutes` advised in the auto.yaml beside a checkpoint, and nothing "
        "with ''",
    )
    add_rails(parser, filters=False)  # of each --ckpt: by each rail a row beside the one without, and by all together
    parser.add_argument("--part", choices=["validation", "test"], default="test", help="which cases (default test)")
    parser.add_argument(
        "--models",
        metavar="A,B",
        help=f"baselines among {', '.join([*QUICK, *SLOW])}, or `all`; the default is all but the last "
        f"{len(SLOW)}, which train a network",
    )
    parser.add_argument(
        "--k", type=positive, default=10, help="main cut-off (default 10); lists are described up to 100"
    )
    parser.add_argument("--deep", type=positive, default=50, help="second cut-off (default 50)")
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="a column of users to group by; may be repeated"
    )
    parser.add_argument("--out", metavar="DIR", help="write comparison.csv, .md and .png there")
    parser.add_argument("--no-cache", action="store_true", help="fit everything anew")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from recall_lightning.baselines.base import UnavailableError
    from recall_lightning.baselines.cache import Cache, data_fingerprint
    from recall_lightning.baselines.evaluate import LONGEST_LIST
    from recall_lightning.baselines.fused import Fused
    from recall_lightning.baselines.guarded import Guarded, cost_and_gain
    from recall_lightning.baselines.registry import chosen
    from recall_lightning.baselines.report import Known, figures
    from recall_lightning.baselines.run import cases_of
    from recall_lightning.baselines.run import run as run_contender
    from recall_lightning.baselines.text_vectors import text_vectors
    from recall_lightning.baselines.trained import Trained
    from recall_lightning.baselines.transferred import Transferred
    from recall_lightning.cli.auto import advised
    from recall_lightning.cli.tables import print_table
    from recall_lightning.cli.trainer import data_of
    from recall_lightning.errors import InputError

    data = data_of(args.config, args.keys)
    rails = rails_of(args)
    if rails and not args.ckpt:
        raise InputError(f"{next(iter(rails.parts))}: there is no model to keep within it. Give it by --ckpt")
    if rails and max(args.k, args.deep) > LONGEST_LIST:
        raise InputError(f"--k and --deep: lists within guard rails hold {LONGEST_LIST} items. Give no more than that")
    names = {None: QUICK, "all": [*QUICK, *SLOW]}.get(args.models) or args.models.split(",")
    baselines = list(chosen(data, names).values())  # wrong names and broken checkpoints are told before data is read
    channels = args.fuse.split(",") if args.fuse else []
    chosen(data, channels)  # as for all names
    if channels and not args.ckpt:
        raise InputError("--fuse: there is no model to fuse baselines with. Give it by --ckpt")
    trained = [Trained(path) for path in args.ckpt]
    transferred = [Transferred(path) for path in args.transfer]
    data.setup()
    for model in [*trained, *transferred]:
        model.check(data)
    groups = _user_groups(data, args.by)
    cases = cases_of(data, args.part)
    if not len(cases[args.part]):
        raise InputError(
            f"--part {args.part}: {data.splits.name} gives no such case. Give longer histories, or compare another part"
        )
    cache = Cache(None if args.no_cache else data.cache_dir, data_fingerprint(data), args.part)
    results: dict[str, Result] = {}
    left_out: dict[str, UnavailableError] = {}
    # each has a channel of its own, which is fitted where it is fused, as it was tuned by itself
    fused = (
        Fused(model, channel, cache)
        for model in trained
        for channel in chosen(data, advised(Path(model.path)) if args.fuse is None else channels).values()
    )
    parts = rails.parts | ({" and ".join(rails.parts): rails} if len(rails.parts) > 1 else {})
    guarded = [Guarded(model, part, what) for model in trained for what, part in parts.items()]
    contenders: Iterator[Contender] = chain(baselines, trained, transferred, guarded, fused)
    for contender in contenders:
        try:
            results[contender.name] = run_contender(contender, data, cases, cache)
        except UnavailableError as why:
            left_out[contender.name] = why
    n_train = int((data.split.train.lengths > 0).sum())
    known = Known(torch.from_numpy(data.counts), n_train, text_vectors(data), groups)
    ks = sorted({args.k, args.deep}, key=lambda k: k != args.k)
    found = list(figures(results, cases, known, ks, [b.name for b in baselines]))
    _print(found, data, list(cases), args)
    pairs = [(contender.name, contender.model.name) for contender in guarded]
    rail_costs = {name: cost_and_gain(results, pairs, name, len(data.catalogue), args.k) for name in cases if pairs}
    for name, (header, rows) in rail_costs.items():
        print(f"\n{name}, what guard rails cost and gain, beside the same model without")
        print_table(header, rows)
    _print_costs(results, left_out)
    if args.out:
        sections = [(f"{name}: guard rails", *table) for name, table in rail_costs.items()]
        _write(found, results, left_out, list(cases), args, Path(args.out), sections)


def _user_groups(data: "RecallDataModule", columns: list[str]) -> dict[str, list[str]]:
    if not columns:
        return {}
    from recall_lightning.errors import InputError

    users = data.reader.read_users()
    if users is None:
        raise InputError(
            f"--by {columns[0]}: the reader knows nothing of users. Give it a file of them, or drop the flag"
        )
    groups = {name: users.column(name, data.interactions.user_ids) for name in columns}
    for name, values in groups.items():
        if (n_values := len(set(values))) > _MOST_GROUPS:
            raise InputError(
                f"--by {name}: {n_values:,} different values, each a group: at most {_MOST_GROUPS} can be told. Name a "
                "column with fewer, such as ranges in place of numbers"
            )
    return groups


def _print(found: "list[Figure]", data: "RecallDataModule", cases: list[str], args: argparse.Namespace) -> None:
    from recall_lightning.baselines.outputs import beyond_table, group_table, main_table
    from recall_lightning.cli.tables import print_table

    for place, name in enumerate(cases):
        header, rows = main_table(found, name, args.k, args.deep)
        n_users = next((f.n_users for f in found if f.cases == name), 0)
        above = "\n" if place else ""
        print(f"{above}{name}: {n_users:,} users, {len(data.catalogue):,} items, all ranked but those already met")
        if not rows:
            print("no model here can rank what is asked for")
            continue
        print_table(header, rows)
        print(f"\n{name}, recall@{args.k} by popularity of the target and by group (users)")
        print_table(*group_table(found, name, args.k))
        print(f"\n{name}, what the lists are like")
        print_table(*beyond_table(found, name, args.k))


def _print_costs(results: "dict[str, Result]", left_out: "dict[str, UnavailableError]") -> None:
    from recall_lightning.baselines.outputs import cost_table
    from recall_lightning.cli.tables import print_table

    print("\nwhat it took")
    print_table(*cost_table(results, left_out))


def _write(
    found: "list[Figure]", results: "dict[str, Result]", left_out: "dict[str, UnavailableError]", cases: list[str],
    args: argparse.Namespace, folder: "Path", more: list[tuple[str, list[str], list[list[str]]]],
) -> None:  # fmt: skip
    from recall_lightning.baselines.base import UnavailableError
    from recall_lightning.baselines.outputs import (
        beyond_table,
        cost_table,
        group_table,
        main_table,
        write_chart,
        write_csv,
        write_markdown,
    )

    write_csv(found, folder / "comparison.csv")
    sections = []
    for name in cases:
        sections.append((name, *main_table(found, name, args.k, args.deep)))
        sections.append((f"{name}: recall@{args.k} by group", *group_table(found, name, args.k)))
        sections.append((f"{name}: the lists", *beyond_table(found, name, args.k)))
    write_markdown([*sections, *more, ("cost", *cost_table(results, left_out))], folder / "comparison.md")
    try:
        write_chart(found, cases[0], args.k, folder / "comparison.png")
    except UnavailableError as why:
        sys.stderr.write(f"{why}\n")
    sys.stderr.write(f"written to {folder}\n")
