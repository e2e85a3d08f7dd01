"""`check`: what a config's data is like, and every problem with it, without training."""

import argparse
from typing import TYPE_CHECKING

from recall_lightning.cli.main import add_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from recall_lightning.data.datamodule import RecallDataModule

SUMMARY = "what a config's data is like: sizes, texts, split, and every problem found; trains nothing"
EXAMPLE = "recall-lightning check --config configs/movielens-100k.yaml"

_LENGTHS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_TOKENS = (0, 8, 16, 32, 64, 128, 256, 512)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    from recall_lightning.cli.trainer import data_of
    from recall_lightning.errors import InputError

    data = data_of(args.config, args.keys, quiet=True)
    try:
        data.setup()
    except InputError as error:
        problems = _source_problems(data) or [str(error)]
        if len(problems) == 1:
            raise InputError(problems[0]) from error
        for problem in problems:
            print(problem)
        raise InputError(f"{len(problems)} problems that training would stop at, listed above: mend each") from error
    warnings = [*_rows(data), *_texts(data), *_split(data)]
    print(f"\n{len(warnings)} thing(s) to know" if warnings else "\nno problem found")
    for number, warning in enumerate(warnings, start=1):
        print(f"  {number}. {warning}")


def _source_problems(data: "RecallDataModule") -> list[str]:
    """What is wrong with each source by itself: one bad file then hides no other."""
    from recall_lightning.errors import InputError
    from recall_lightning.pretrained import load_tokenizer

    problems = []
    looks: list[Callable[[], object]] = [
        lambda: _read_interactions(data),
        lambda: data.reader.read_items(data.text),
        data.reader.read_users,
        lambda: load_tokenizer(data.encoder),
    ]
    for look in looks:
        try:
            look()
        except InputError as error:
            problems.append(str(error))
    return problems


def _read_interactions(data: "RecallDataModule") -> None:
    """Read them for what is wrong with them alone."""
    in_parts = data.reader.in_parts()
    if in_parts is None:
        data.reader.read_interactions()
    else:
        for _ in in_parts.parts():
            pass


def _rows(data: "RecallDataModule") -> list[str]:
    """Print what was read and kept; what to know of it."""
    from recall_lightning.cli.histogram import print_histogram

    prepared, made = data.prepared, data.interactions
    n_met = int((made.item_counts(len(data.catalogue)) > 0).sum())
    print(f"{made.n_users:,} users, {len(data.catalogue):,} items, {len(made):,} interactions")
    density = len(made) / max(1, made.n_users * len(data.catalogue))
    print(f"  {density:.3%} of all pairs; {len(data.catalogue) - n_met:,} items were never met")
    if made.times is not None:
        from recall_lightning.data.moments import readable

        print(f"  from {readable(float(made.times.min()))} to {readable(float(made.times.max()))}")
    lost = prepared.n_read - len(made)
    print(f"  {prepared.n_read:,} rows read, {lost:,} ({lost / max(1, prepared.n_read):.1%}) not used")
    for why, n in prepared.left_out.items():
        print(f"    {n:,} ({n / prepared.n_read:.1%}): {why}")
    if prepared.n_repeated:
        n = prepared.n_repeated
        print(f"    {n:,} ({n / prepared.n_read:.1%}): the user's other interactions with the same item")
    print("\nhistories, by length (users)")
    print_histogram(made.lengths, _LENGTHS, "items")
    found = list(prepared.broken)
    tied = _tied_share(data)
    if tied > 0.1:
        said = (
            f"{tied:.0%} of the interactions share their time with another of the same user"
            if made.times is not None
            else "the interactions have no times"
        )
        if data.ties == "row":
            found.append(
                f"{said}: their order is the file's. Where that means nothing, set data.ties: shuffle, since a model "
                "can learn a file's order, and so look better than it is"
            )
        else:
            found.append(f"{said}: their order is drawn by a seeded hash (data.ties: shuffle)")
    return found


def _tied_share(data: "RecallDataModule") -> float:
    import numpy as np

    made = data.interactions
    if made.times is None:
        return 1.0
    n_tied = 0
    for block in made.blocks():
        times, users = block.part.times, block.part.users
        assert times is not None
        same = (times[1:] == times[:-1]) & (users[1:] == users[:-1])
        tied = np.zeros(len(users), bool)
        tied[1:] |= same
        tied[:-1] |= same
        n_tied += int(tied.sum())
    return n_tied / max(1, len(made))


def _texts(data: "RecallDataModule") -> list[str]:
    """Print what the texts are like; what to know of them."""
    import numpy as np

    from recall_lightning.cli.histogram import print_histogram
    from recall_lightning.data.tokens import tokenize

    assert data.tokenizer is not None
    longest = tokenize(data.catalogue.texts, data.tokenizer, max_tokens=512).lengths
    prepared = data.prepared
    with_text = prepared.n_items_read - prepared.n_items_without_text
    share = 1 - prepared.n_without_text / max(1, prepared.n_read)
    print(
        f"\ntext coverage: {with_text:,} of the {prepared.n_items_read:,} items that were met have a text "
        f"({with_text / max(1, prepared.n_items_read):.1%}), and {share:.1%} of the interactions are with them"
    )
    print("texts, by length in tokens (items)")
    print_histogram(longest, _TOKENS, "tokens")
    print(f"  for example: {_short(data.catalogue.texts[int(np.argsort(longest)[len(longest) // 2])])!r}")
    found = []
    cut = float((longest > data.max_text_tokens).mean())
    if cut > 0.01:
        found.append(f"{cut:.0%} of the texts are cut at data.max_text_tokens: {data.max_text_tokens}")
    spare = int(np.percentile(longest, 99))
    if data.max_text_tokens > 2 * spare:
        found.append(f"data.max_text_tokens: {data.max_text_tokens} is more than twice what 99% of the texts need")
    values, n = np.unique(np.array(data.catalogue.texts, object), return_counts=True)
    if (n > 1).any():
        worst = int(n.argmax())
        found.append(
            f"{int(n[n > 1].sum()):,} items share their text with another, such as {_short(values[worst])!r} "
            f"({n[worst]} times): text alone can't tell them apart. Name more columns in data.text"
        )
    return found


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"


def _split(data: "RecallDataModule") -> list[str]:
    """Print the split's sizes; what to know of it."""
    split = data.split
    print(f"\nsplit {data.splits.name}")
    print(f"  train       {len(split.train):,} interactions, {int((split.train.lengths > 0).sum()):,} users")
    for name, cases in [("validation", split.validation), ("test", split.test), *split.apart.items()]:
        n_targets = int((cases.targets[:, 1] - cases.targets[:, 0]).sum())
        print(f"  {name:11} {len(cases):,} users to ask, {n_targets:,} items to recall")
    found = list(split.notes)
    if not len(data.sequences):
        found.append("no user has two interactions to train on: `fit` would stop. Give longer histories")
    if not len(split.validation):
        found.append("no validation case: there is nothing to choose a model, a threshold or baselines' settings by")
    if len(split.test) < 1000:
        margin = 1.96 * 0.5 / max(1, len(split.test)) ** 0.5
        found.append(f"{len(split.test):,} test users: a recall is known to about ±{margin:.2f} at worst")
    unseen = len(data.catalogue) - int((data.counts > 0).sum())
    if unseen:
        found.append(f"{unseen:,} items of the catalogue are in no training interaction: their text is all there is")
    return found
