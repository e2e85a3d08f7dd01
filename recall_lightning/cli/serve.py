"""`serve`: an HTTP service over a checkpoint."""

import argparse
import importlib.util
from dataclasses import fields

from recall_lightning.cli.encoding import add_encoding
from recall_lightning.cli.main import positive
from recall_lightning.serving.limits import Limits

SUMMARY = "an HTTP service: recommendations, similar items, and new items as they come"
EXAMPLE = "recall-lightning serve --ckpt runs/movielens-100k/version_0/checkpoints/best.ckpt --port 8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ckpt", required=True, metavar="C.ckpt", help="checkpoint of a trained model")
    parser.add_argument("--items", metavar="I.csv", help="rank these items, new ones among them, not the training's")
    add_encoding(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1, for this machine alone)"
    )
    parser.add_argument("--port", type=_port, default=8000, help="0 for a free one, which is told (default 8000)")
    parser.add_argument(
        "--wait-ms", type=_milliseconds, default=0.0, metavar="MS",
        help="have a request wait for others, too, and not only for the batch that is being ranked (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--users-at-once", type=positive, default=256, metavar="N", help="most users ranked together (default 256)"
    )
    parser.add_argument("--read-only", action="store_true", help="take no new items")
    for limit in fields(Limits):
        parser.add_argument(
            f"--max-{limit.name.replace('_', '-')}", type=positive, default=limit.default, metavar="N",
            help=f"{limit.metadata['of_what']} (default {limit.default})",
        )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from recall_lightning.cli.quiet import quiet_libraries
    from recall_lightning.errors import InputError

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {' and '.join(missing)}. Install it: pip install 'recall-lightning[serve]'")

    from recall_lightning.retrieval.recommender import Recommender
    from recall_lightning.serving.app import application
    from recall_lightning.serving.server import bound, serve
    from recall_lightning.serving.service import Service

    quiet_libraries()
    with bound(args.host, args.port) as listener:  # told before the long work
        recommender = Recommender.from_checkpoint(args.ckpt, encode_with=args.encode_with, cache_dir=args.cache)
        if args.items:
            recommender.use_items(args.items)
        limits = Limits(**{limit.name: getattr(args, f"max_{limit.name}") for limit in fields(Limits)})
        service = Service(recommender, limits, wait_s=args.wait_ms / 1000, users_at_once=args.users_at_once)
        serve(application(service, Path(args.ckpt).name, read_only=args.read_only), listener)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: give one from 0 to 65535, such as 8000")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is no wait from 0 to 1000 milliseconds: give one such as 2")
    return value
