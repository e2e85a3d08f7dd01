"""`adapt`: the cold-start experiment."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recall_lightning.cli.compare import QUICK, SLOW
from recall_lightning.cli.main import add_config, positive

if TYPE_CHECKING:
    from recall_lightning.coldstart.experiment import Outcome
    from recall_lightning.coldstart.learner import Learner
    from recall_lightning.data.datamodule import RecallDataModule
    from recall_lightning.modules.maml import MAMLRecallModule

SUMMARY = (
    "the cold-start experiment: does adapting to a new user's few interactions help, by number of them and by step"
)
EXAMPLE = (
    "recall-lightning adapt --ckpt runs/movielens-1m-cold-users/version_1/checkpoints/best.ckpt "
    "--config configs/cold-users/movielens-1m.yaml --config configs/cold-users/maml.yaml --out adaptation"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ckpt", required=True, metavar="C.ckpt", help="a meta-trained model (`fit` with method: maml)"
    )
    add_config(parser)
    parser.add_argument(
        "--base", metavar="B.ckpt", help="the model to fine-tune beside it, by default the one that it started from"
    )
    parser.add_argument(
        "--support",
        type=_numbers,
        default=[1, 2, 3, 5, 10],
        metavar="K,K",
        help="interactions told (default 1,2,3,5,10)",
    )
    parser.add_argument("--steps", type=positive, help="inner steps, by default those of the model's training")
    parser.add_argument(
        "--query", type=_queries, default=["next", "fixed"], metavar="Q,Q",
        help="what is asked for: `next`, what follows the first interactions; `fixed`, one window for every number of "
        "them, which stand right before it (default both)",
    )  # fmt: skip
    parser.add_argument("--part", choices=["validation", "test"], default="test", help="which users (default test)")
    parser.add_argument(
        "--models", metavar="A,B",
        help=f"baselines among {', '.join([*QUICK, *SLOW])}, or `all`; the default is all but the last {len(SLOW)}",
    )  # fmt: skip
    parser.add_argument(
        "--fuse", metavar="A,B", default="",
        help="fuse the base and the adapted model with one of these baselines: which, and how much it counts, by "
        "validation for each number of interactions",
    )  # fmt: skip
    parser.add_argument("--k", type=positive, default=10, help="main cut-off (default 10)")
    parser.add_argument(
        "--out", metavar="DIR", help="where the files go, by default `adaptation` beside the checkpoint"
    )
    parser.add_argument("--no-cache", action="store_true", help="fit all baselines anew")


def run(args: argparse.Namespace) -> None:
    from recall_lightning.baselines.registry import chosen
    from recall_lightning.baselines.trained import Trained
    from recall_lightning.cli.trainer import data_of
    from recall_lightning.coldstart import experiment, protocols
    from recall_lightning.coldstart.learner import Learner
    from recall_lightning.modules.maml import MAMLRecallModule

    data = data_of(args.config, args.keys)
    names = {None: QUICK, "all": [*QUICK, *SLOW]}.get(args.models) or args.models.split(",")
    baselines = list(chosen(data, names).values())
    channels = list(chosen(data, args.fuse.split(",")).values()) if args.fuse else []
    protocols.check(data.splits, args.query, args.support)  # all that can be told before data is read
    meta = MAMLRecallModule.load_from_checkpoint(args.ckpt)
    data.setup()
    assert meta.background is not None
    meta.background.check(data, args.ckpt)
    asked = protocols.protocols(data, args.query, args.support, args.part)
    base = _base(args, meta)
    control = None if base is None else _control(base, meta, data)
    settings = experiment.Settings(
        args.part, args.steps or meta.inner_loop.steps, args.k, None if args.no_cache else data.cache_dir
    )
    fusion = None
    if channels:
        adapting = Trained(args.ckpt)
        assert isinstance(adapting.module, MAMLRecallModule)
        adapting.module.inner_loop = replace(adapting.module.inner_loop, steps=settings.steps)
        fusion = experiment.Fusion(channels, adapting, None if base is None else Trained(base))
    outcome = experiment.run(data, asked, baselines, Learner.of_meta(meta, data), control, settings, fusion)
    _tell(outcome, data, args)


def _base(args: argparse.Namespace, meta: "MAMLRecallModule") -> str | None:
    """Where the model is that meta-training started from; None if it isn't at hand."""
    path = args.base or meta.hparams.get("init_from")
    return None if path is None or (not args.base and not Path(path).is_file()) else str(path)


def _control(path: str, meta: "MAMLRecallModule", data: "RecallDataModule") -> "Learner":
    """That model, ready to be fine-tuned."""
    from recall_lightning.coldstart.learner import Learner
    from recall_lightning.modules.recall import RecallModule

    base = RecallModule.load_from_checkpoint(path)
    assert base.background is not None
    base.background.check(data, path)
    return Learner.of_base(base, meta, data)


def _tell(outcome: "Outcome", data: "RecallDataModule", args: argparse.Namespace) -> None:
    from recall_lightning.cli.tables import print_table
    from recall_lightning.coldstart.outputs import write
    from recall_lightning.coldstart.report import figures
    from recall_lightning.coldstart.tables import notes, settings_table, tables

    found = figures(outcome.asked, args.k)
    shown, told = list(tables(found, args.k)), notes(outcome, found, args.k, args.part)
    print(f"{args.part}: users held out whole, {len(data.catalogue):,} items, all ranked but those already met")
    for title, header, rows in shown:
        print(f"\n{title}")
        print_table(header, rows)
    print("", *told, sep="\n")
    folder = Path(args.out) if args.out else Path(args.ckpt).parent / "adaptation"
    why = write(found, [*shown, settings_table(outcome)], told, f"recall@{args.k}", folder)
    if why:
        sys.stderr.write(f"{why}\n")
    sys.stderr.write(f"written to {folder}\n")


def _numbers(text: str) -> list[int]:
    """A flag's list of different whole numbers from 1 up, in ascending order."""
    numbers = [positive(word) for word in text.split(",")]
    if len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text} names a number twice: give each once")
    return sorted(numbers)


def _queries(text: str) -> list[str]:
    """A flag's list of `next` and `fixed`."""
    words = list(dict.fromkeys(text.split(",")))
    if unknown := [word for word in words if word not in ("next", "fixed")]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is no query: give next, fixed or next,fixed")
    return words
