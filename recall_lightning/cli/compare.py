"""`compare`: baselines and checkpoints on a config's own split."""

import argparse

SUMMARY = "baselines and checkpoints side by side, on the config's own split and metrics"
EXAMPLE = (
    "recall-lightning compare --config configs/movielens-100k.yaml "
    "--ckpt runs/movielens-100k/version_0/checkpoints/best.ckpt"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE.yaml", help="the config whose data is used")
    parser.add_argument(
        "--ckpt", action="append", default=[], metavar="C.ckpt", help="a trained model; may be repeated"
    )
    parser.add_argument("--part", choices=["validation", "test"], default="test", help="which cases (default test)")


def run(args: argparse.Namespace) -> None:
    from recall_lightning.baselines.base import Contender
    from recall_lightning.baselines.evaluate import evaluate
    from recall_lightning.baselines.popularity import Popularity
    from recall_lightning.baselines.profile import EncoderProfile
    from recall_lightning.baselines.trained import Trained
    from recall_lightning.cli.tables import print_table
    from recall_lightning.cli.trainer import data_of

    trained = [Trained(path) for path in args.ckpt]  # a broken one is told before the data is read
    data = data_of(args.config)
    data.setup()
    contenders: list[Contender] = [Popularity(), EncoderProfile(data.encoder), *trained]
    shown = ["recall@10", "recall@50", "ndcg@10"]
    rows = []
    for contender in contenders:
        contender.fit(data)
        metrics = evaluate(contender, data, args.part, [10, 50])
        rows.append([contender.name, *(f"{metrics[name]:.4f}" for name in shown)])
    cases = data.split.test if args.part == "test" else data.split.validation
    print(f"{args.part}: {len(cases)} users, {len(data.catalogue)} items, all ranked but those already met")
    print_table(["model", *shown], rows)
