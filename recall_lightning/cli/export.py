"""`export`: a checkpoint in the forms that other programs read."""

import argparse
import sys

from recall_lightning.cli.encoding import add_encoding

SUMMARY = "item vectors, an index, and the encoder and towers, in the forms that other programs read"
EXAMPLE = (
    "recall-lightning export --ckpt runs/movielens-100k/version_0/checkpoints/best.ckpt --to exported "
    "--format embeddings faiss"
)
FORMATS = {  # of retrieval.export, which would take seconds to import
    "embeddings": "item vectors and ids (safetensors, Parquet, JSON)",
    "sentence-transformers": "a folder that SentenceTransformer(DIR) loads",
    "onnx": "item_encoder.onnx and user_tower.onnx",
    "faiss": "index.faiss over the item vectors, and ids",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ckpt", required=True, metavar="C.ckpt", help="checkpoint of a trained model")
    parser.add_argument("--to", required=True, metavar="DIR", help="a new folder, or one of an earlier export")
    parser.add_argument(
        "--format", required=True, nargs="+", action="extend", metavar="FORMAT",
        help=f"one or several: {'; '.join(f'{name}: {what}' for name, what in FORMATS.items())}",
    )  # fmt: skip
    parser.add_argument("--items", metavar="I.csv", help="the vectors of these items, new ones among them")
    add_encoding(parser)
    parser.add_argument(
        "--index", choices=["flat", "hnsw", "ivf"],
        help="with faiss: flat is exact (default), hnsw and ivf faster on large catalogues; what they find is told",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from recall_lightning.cli.quiet import quiet_libraries
    from recall_lightning.errors import InputError
    from recall_lightning.retrieval.export.folder import check, export
    from recall_lightning.retrieval.recommender import Recommender

    quiet_libraries()
    formats, folder = [name for given in args.format for name in given.split(",")], Path(args.to)
    check(formats, folder)
    if args.index and "faiss" not in formats:
        raise InputError(f"--index {args.index}: only the format faiss has an index. Add --format faiss, or drop it")
    recommender = Recommender.from_checkpoint(args.ckpt, encode_with=args.encode_with, cache_dir=args.cache)
    if args.items:
        recommender.use_items(args.items)
    export(
        recommender, formats, folder, lambda line: print(line, file=sys.stderr, flush=True), index=args.index or "flat"
    )
    sys.stderr.write(f"written to {folder}\n")
