"""`recommend`: top-k items for every user of a file of histories."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from recall_lightning.cli.compare import QUICK, SLOW
from recall_lightning.cli.encoding import add_encoding
from recall_lightning.cli.guarding import add_rails, rails_of
from recall_lightning.cli.main import add_config, positive

if TYPE_CHECKING:
    from recall_lightning.data.catalogue import Catalogue
    from recall_lightning.retrieval.fusing import Fusing
    from recall_lightning.retrieval.histories import PreparedHistories
    from recall_lightning.retrieval.recommender import Recommender

SUMMARY = "the items that each user of a file of histories is most likely to want"
EXAMPLE = (
    "recall-lightning recommend --ckpt runs/movielens-100k/version_0/checkpoints/best.ckpt "
    "--histories histories.csv --out recommendations.csv --k 10 --show 2"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ckpt", required=True, metavar="C.ckpt", help="checkpoint of a trained model")
    parser.add_argument("--histories", required=True, metavar="H.csv", help="user_id,item_id[,timestamp], known or new")
    parser.add_argument("--out", required=True, metavar="R.csv", help="user_id,item_id,rank,score; .csv or .parquet")
    parser.add_argument("--items", metavar="I.csv", help="rank these items, new ones among them, not the training's")
    parser.add_argument("--candidates", metavar="K.csv", help="a column item_id: rank these items alone")
    parser.add_argument("--k", type=positive, default=50, help="items a user (default 50)")
    parser.add_argument(
        "--threshold", type=_threshold, metavar="auto|ALPHA",
        help="of the k items those alone with score >= ALPHA; auto: the alpha that validation chose (model.threshold); "
        "the list still ends at --k, and may be empty",
    )  # fmt: skip
    parser.add_argument("--include-known", action="store_true", help="recommend items of the user's history, too")
    parser.add_argument("--adapt", action="store_true", help="adapt to each user first, by a meta-trained checkpoint")
    parser.add_argument(
        "--adapt-candidates", type=positive, default=20_000, metavar="N",
        help="with --adapt: a step tells a user's items apart from at most N of the training's (default 20000)",
    )  # fmt: skip
    parser.add_argument(
        "--fuse", action="append", metavar="BASELINE",
        help="rank by the model and this baseline as one, the weight by validation as in `compare --fuse`: "
        f"{', '.join([*QUICK, *SLOW])}",
    )  # fmt: skip
    add_config(parser, only_with="--fuse")
    add_encoding(parser)
    parser.add_argument(
        "--explain", nargs="?", const="items", choices=["items", "words"],
        help="also tell, in further columns and with --show, which items of the history a score is owed to; `words`: "
        "and to which words of the recommended item's text",
    )  # fmt: skip
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N users' histories and best ten")
    parser.add_argument(
        "--index", choices=["exact", "hnsw", "ivf"], default="exact",
        help="look at every item, or by faiss at some: its recall against exact is told (default exact)",
    )  # fmt: skip
    add_rails(parser, filters=True)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from tqdm import tqdm

    from recall_lightning.data.readers.tables import column, read_table
    from recall_lightning.errors import InputError
    from recall_lightning.retrieval.approximate import Approximate
    from recall_lightning.retrieval.explaining import Explaining
    from recall_lightning.retrieval.recommendations import check_writable, write
    from recall_lightning.retrieval.recommender import Recommender

    out = Path(args.out)
    check_writable(out)
    rails = rails_of(args, args.items)
    if args.popularity_penalty and (args.threshold is not None or args.fuse):
        flag = "--fuse" if args.fuse else "--threshold"
        raise InputError(
            f"--popularity-penalty with {flag}: the penalty is on the scale of the model's own scores. Drop one of them"
        )
    if args.index != "exact" and (args.popularity_penalty or args.fuse):
        flag = "--fuse" if args.fuse else "--popularity-penalty"
        raise InputError(f"--index {args.index} with {flag}: scores are then no inner product alone. Drop one of them")
    tuned_fusing = _fusing(args)
    recommender = Recommender.from_checkpoint(args.ckpt, encode_with=args.encode_with, cache_dir=args.cache)
    if args.items:
        recommender.use_items(args.items)
    candidates = None
    if args.candidates:
        path = Path(args.candidates)
        candidates = column(read_table(path), "item_id", path).to_pylist()
    guard = recommender.guard(rails) if rails else None
    allowed = recommender.allowed(candidates)  # what is wrong is told before the long work
    if guard:
        guard.among(allowed)
    alpha = recommender.alpha(args.threshold)
    adapting = recommender.adapting(args.adapt_candidates) if args.adapt else None
    histories = recommender.prepare(args.histories)
    explaining = Explaining(recommender, words=args.explain == "words", adapting=adapting) if args.explain else None
    index = None
    if args.index != "exact":
        index = Approximate(recommender, args.index, lambda line: print(line, file=sys.stderr, flush=True))
    fusing = tuned_fusing() if tuned_fusing else None
    started, shown, served = time.perf_counter(), args.show, 0

    def tables() -> Iterator[Any]:
        nonlocal shown, served
        stream = recommender.stream(
            histories, k=args.k, candidates=candidates, include_known=args.include_known, threshold=alpha,
            adapting=adapting, fusing=fusing, explaining=explaining, guard=guard, index=index, done=bar.update,
        )  # fmt: skip
        for table in stream:
            served += len(table["user_id"].unique())
            if shown:
                shown -= _show(recommender, histories, table, shown)
            yield table

    n_users = histories.interactions.n_users
    with tqdm(total=n_users, unit=" users", disable=None) as bar:  # None: shown on a terminal, by stderr
        write(tables(), out)
    seconds = time.perf_counter() - started
    instead = "the most popular items" if alpha is None else "nothing, having no scores to hold against a threshold"
    instead = instead if adapting is None else f"{instead}, there being nothing to adapt to"
    unscored = 0 if alpha is None else histories.without_history
    for count, what in [
        (len(guard.unknown) if guard else 0, "ids of the block list are in no catalogue: nothing is blocked by them"),
        (histories.unknown_items, "interactions skipped: their items are described nowhere (see --items)"),
        (histories.without_history, f"users without a usable history: they got {instead}"),
        (adapting.diverged if adapting else 0, "users got the unadapted answer: their inner loop diverged"),
        (n_users - served - unscored, f"users with a history got no item that scores {alpha} or more"),
    ]:
        if count:
            sys.stderr.write(f"{count} {what}\n")
    if explaining:
        how = "its part of the sum that the score is" if explaining.exact else "what the score loses without it"
        sys.stderr.write(
            f"an item's share is {how}; because_scores, others_score and rest_score make the model's score\n"
        )
    sys.stderr.write(f"{n_users} users in {seconds:.1f} s, {n_users / seconds:,.0f} a second, written to {out}\n")


def _fusing(args: argparse.Namespace) -> "Callable[[], Fusing] | None":
    """What tunes the fusion that `--fuse` asks for, once all else is known to be right; None without `--fuse`.

    Raises:
        InputError: if the flags, the config or the checkpoint don't go together.
    """
    from recall_lightning.errors import InputError

    if args.fuse is None:
        if args.config:
            raise InputError("--config: only --fuse reads one, the checkpoint carries all else. Add --fuse, or drop it")
        return None
    if not args.config:
        raise InputError("--fuse: the baseline learns from data. Name it by --config, as the checkpoint was trained")
    names = [name for flag in args.fuse for name in flag.split(",")]
    if len(names) > 1:
        raise InputError(f"--fuse {','.join(names)}: a ranking is fused with one baseline. Give the one to take")
    for flag, given, why in [
        ("--items", args.items is not None, "the baseline knows the config's items alone"),
        ("--adapt", args.adapt, "the weight is chosen for a model that stays as it is"),
        ("--threshold", args.threshold is not None, "alpha is on the scale of the model's scores, not of the fused"),
        ("--explain", args.explain is not None, "only the model's own scores can be shared out"),
    ]:
        if given:
            raise InputError(f"--fuse with {flag}: {why}. Drop one of them")

    from recall_lightning.baselines.fused import Fused, serving
    from recall_lightning.baselines.registry import chosen
    from recall_lightning.baselines.trained import Trained
    from recall_lightning.cli.trainer import data_of

    data = data_of(args.config, args.keys)
    (channel,) = chosen(data, names).values()  # a wrong name is told before data is read
    trained = Trained(args.ckpt)
    if trained.module.is_meta:
        raise InputError(
            f"--fuse: {args.ckpt} was meta-trained, and the weight would be chosen for users that it is adapted to. "
            "Give one that was trained with `method: recall`, or drop --fuse"
        )
    data.setup()
    trained.check(data)
    return partial(serving, Fused(trained, channel), data)


def _threshold(text: str) -> Any:
    """A flag's finite number, or `auto`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if text != "auto" and not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number nor auto: give one such as 0.4")
    return text if text == "auto" else value


def _why(row: dict[str, Any], pool: "Catalogue") -> str:
    """One line of what a score is owed to."""
    because = zip(row["because"], row["because_scores"], strict=True)
    items = [f"{share:+.3f} {pool.titles[pool.row(item)]}" for item, share in because]
    parts = [*items, f"{row['others_score']:+.3f} other items", f"{row['rest_score']:+.3f} no item"]
    words = [f"{weight:+.3f} {w}" for w, weight in zip(row.get("words", []), row.get("word_scores", []), strict=True)]
    return "; ".join(parts) + (f"; words: {', '.join(words)}" if words else "")


def _show(recommender: "Recommender", histories: "PreparedHistories", table: Any, most: int) -> int:
    """Print what the first users of a table met and get, with titles; how many were printed."""
    from recall_lightning.cli.tables import print_table

    pool, grouped = recommender.pool, histories.interactions
    users = list(dict.fromkeys(table["user_id"].to_pylist()))[:most]
    for user in users:
        history = grouped.history(grouped.user_ids.index(user))
        print(f"\nuser {user}: {len(history)} items, the newest first")
        for row in history[::-1][:8].tolist():
            print(f"  {pool.titles[row]}")
        rows = [row for row in table.to_pylist() if row["user_id"] == user][:10]
        print_table(
            ["rank", "recommended", "score"],
            [[str(r["rank"]), pool.texts[pool.row(r["item_id"])], f"{r['score']:.3f}"] for r in rows],
        )
        for row in rows:
            if "because" in row:
                print(f"{row['rank']}: {_why(row, pool)}")
    return len(users)
