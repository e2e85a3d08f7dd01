"""`similar`: the items nearest to an item or to a text."""

import argparse

from recall_lightning.cli.encoding import add_encoding
from recall_lightning.cli.main import positive

SUMMARY = "the items nearest to an item, or to a text of your own"
EXAMPLE = (
    "recall-lightning similar --ckpt runs/movielens-100k/version_0/checkpoints/best.ckpt "
    '--text "a heist goes wrong" --k 5'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ckpt", required=True, metavar="C.ckpt", help="checkpoint of a trained model")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--item", metavar="ID", help="an item of the catalogue")
    what.add_argument("--text", help="any text")
    parser.add_argument("--items", metavar="I.csv", help="look among these items, not the training's")
    add_encoding(parser)
    parser.add_argument("--k", type=positive, default=10, help="how many (default 10)")


def run(args: argparse.Namespace) -> None:
    from recall_lightning.cli.tables import print_table
    from recall_lightning.retrieval.recommender import Recommender

    recommender = Recommender.from_checkpoint(args.ckpt, encode_with=args.encode_with, cache_dir=args.cache)
    if args.items:
        recommender.use_items(args.items)
    found = recommender.similar(item=args.item, text=args.text, k=args.k)
    if args.item is not None:
        print(f"nearest to {recommender.pool.titles[recommender.pool.row(args.item)]}:")
    print_table(
        ["rank", "item", "title", "similarity"],
        [[str(rank), item, title, f"{score:.3f}"] for rank, (item, title, score) in enumerate(found, 1)],
    )
