"""A tour of the library in Python: from files to recommendations, newcomers and new items, with plots.

    python scripts/tour.py --out tour

docs/tour.md walks through it, with what it prints. Data and encoder are those of `recall-lightning fetch`; the plots
need the extra `compare`. `--ckpt` takes the checkpoint of `fit --config configs/movielens-100k.yaml`, not training one.
"""

import argparse
import logging
from pathlib import Path

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from recall_lightning import (
    EncoderConfig,
    EpisodeDataModule,
    InnerLoopConfig,
    ItemTower,
    MAMLRecallModule,
    MovieLens,
    OptimizerConfig,
    RecallDataModule,
    RecallModule,
    Recommender,
    Splits,
    TransformerTower,
)
from recall_lightning.cli.quiet import quiet_libraries
from recall_lightning.coldstart.learner import Learner
from recall_lightning.metrics import RankingMetrics
from recall_lightning.models.scoring import set_aside

TEXT = "{title} ({year}). {genres}"
LIKED = ["Toy Story", "Aladdin", "The Lion King"]  # oldest first
NEW = {"new-1": "A Robot's Holiday (2026). Animation, Children's, Comedy"}
GENRES = ["Animation", "Sci-Fi", "Horror", "Western", "Documentary", "Romance"]
SUPPORTS = [1, 3, 5, 10]


def read(folder: Path, encoder: Path) -> RecallDataModule:
    """Files to interactions, a catalogue, and a split of both."""
    data = RecallDataModule(MovieLens(str(folder)), TEXT, str(encoder), ties="shuffle", max_history=50, batch_size=32)
    data.setup()
    interactions, catalogue = data.interactions, data.catalogue
    print(f"item {catalogue.ids[0]!r}: {catalogue.texts[0]!r}, {len(data.tokens.of(0))} tokens")
    first = interactions.items[: interactions.offsets[1]]
    print(f"user {interactions.user_ids[0]!r}: {len(first)} items, first", [catalogue.titles[i] for i in first[:3]])
    return data


def plot_data(data: RecallDataModule) -> Figure:
    """How long histories are, and how unequally items are met."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    lengths = np.diff(data.interactions.offsets)
    left.hist(lengths, bins=np.geomspace(lengths.min(), lengths.max() + 1, 25), color="C0")
    left.set(xscale="log", xlabel="interactions of a user", ylabel="users")
    left.set_xticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
    left.minorticks_off()
    counts = np.sort(np.bincount(data.interactions.items, minlength=len(data.catalogue)))[::-1]
    right.plot(np.arange(1, len(counts) + 1), counts, color="C1")
    right.set(xscale="log", yscale="log", xlabel="item, by popularity", ylabel="interactions of an item")
    return figure


class Curve(Callback):
    """Keeps what each validation came to."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.values.append(float(trainer.callback_metrics["val/recall@10"]))


def trainer_of(epochs: int, *callbacks: Callback) -> L.Trainer:
    """A quiet Trainer with the program's settings."""
    return L.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), gradient_clip_val=1.0, use_distributed_sampler=False,
        num_sanity_val_steps=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip


def train(data: RecallDataModule, epochs: int, out: Path) -> tuple[RecallModule, Figure]:
    """A frozen encoder under a residual an item, a causal transformer and the prior; a checkpoint, and its curve."""
    torch.manual_seed(0)
    module = RecallModule(
        EncoderConfig(data.encoder, frozen_layers=-1, attention="eager"),
        TransformerTower(),
        ItemTower(dim=128, residual=True, residual_dropout=0.1),
        candidates="catalogue",
        optimizer=OptimizerConfig(tower_lr=0.002),
        prior=True,
    )
    curve = Curve()
    trainer = trainer_of(epochs, curve)
    trainer.fit(module, data)
    trainer.save_checkpoint(out / "model.ckpt")
    print("validation Recall@10, epoch by epoch:", *(f"{value:.4f}" for value in curve.values))
    figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
    axes.plot(range(1, len(curve.values) + 1), curve.values, marker="o")
    axes.set(xlabel="epoch", ylabel="validation Recall@10", ylim=(0, None))
    return module, figure


def evaluate(module: RecallModule, data: RecallDataModule) -> None:
    """The test's metrics over the whole catalogue, beside popularity's."""
    popularity, counts = RankingMetrics([10, 50]), torch.from_numpy(data.counts).float()
    for batch in data.test_dataloader():
        popularity.update(set_aside(counts.repeat(len(batch.users), 1), known=batch.known), batch.targets)
    (ours,) = trainer_of(1).test(module, data, verbose=False)
    counted = popularity.compute()
    for name in ("recall@10", "ndcg@10", "recall@50"):
        print(f"{name:>9}: popularity {float(counted[name]):.4f}, ours {ours[f'test/{name}']:.4f}")


def ids_of(recommender: Recommender, titles: list[str]) -> list[str]:
    """Ids of the first items of these titles."""
    return [recommender.pool.ids[recommender.pool.titles.index(title)] for title in titles]


def look_at_items(recommender: Recommender) -> None:
    """Which items are nearest, by what was learned of them and by any text."""
    (alien,) = ids_of(recommender, ["Alien"])
    print("nearest to Alien:", ", ".join(title for _, title, _ in recommender.similar(item=alien, k=4)))
    found = recommender.similar(text="a heist goes wrong", k=4)
    print("nearest to a text:", ", ".join(title for _, title, _ in found))


def plot_items(recommender: Recommender) -> Figure:
    """A map of the item vectors (t-SNE, by cosine), coloured by genre."""
    vectors = recommender.module.model.without_prior(recommender.vectors).cpu().numpy()
    places = TSNE(metric="cosine", init="random", random_state=0).fit_transform(vectors)
    genres = [text.rpartition(". ")[2].split(", ") for text in recommender.pool.texts]
    figure, axes = plt.subplots(figsize=(7, 5.5), layout="constrained")
    axes.scatter(*places.T, s=4, color="0.85", label="other")
    for genre in GENRES:
        of_genre = [row for row, names in enumerate(genres) if genre in names]
        axes.scatter(*places[of_genre].T, s=9, label=genre)
    for title in ("Toy Story", "The Lion King", "Alien"):
        axes.annotate(title, places[recommender.pool.titles.index(title)], fontsize=8)
    axes.set(xticks=[], yticks=[])
    axes.legend(fontsize=8, markerscale=2)
    return figure


def recommend(recommender: Recommender) -> None:
    """A user who never was: the best items for a history, why the first of them, and where a new item comes."""
    titles = dict(zip(recommender.pool.ids, recommender.pool.titles, strict=True))
    history = ids_of(recommender, LIKED)
    best = recommender.recommend({"zoe": history}, k=5).of("zoe")
    for rank, (item, score) in enumerate(best, start=1):
        print(f"{rank}. {score:.3f} {titles[item]}")

    why = recommender.explain(history, best[0][0], words=True)
    print(f"why {titles[best[0][0]]}:", *(f"{share:+.3f} {titles[item]};" for item, share in why.items), end=" ")
    print(f"{why.rest:+.3f} no item; words:", *(f"{weight:+.3f} {word}" for word, weight in why.words[:3]))

    print(recommender.add_items(NEW))
    scores = recommender.recommend({"zoe": history}, k=len(recommender.pool)).of("zoe")
    place = next(rank for rank, (item, _) in enumerate(scores, start=1) if item == "new-1")
    print(f"the new film is {place} of {len(scores)} for zoe")
    print("nearest to it:", ", ".join(title for _, title, _ in recommender.similar(item="new-1", k=3)))


def newcomers(folder: Path, encoder: Path, epochs: int, out: Path) -> Figure:
    """Users held out whole: a base, a meta-trained model that starts from it, and recall by inner step."""
    files = MovieLens(str(folder)), TEXT, str(encoder)
    split = Splits("cold_users", query="fixed", support="last")
    base_data = RecallDataModule(*files, split, ties="shuffle", max_history=20)
    encoder_config = EncoderConfig(str(encoder), frozen_layers=-1, attention="eager")
    torch.manual_seed(0)
    base = RecallModule(encoder_config, item_tower=ItemTower(dim=64, residual=True), candidates="catalogue", prior=True)
    trainer = trainer_of(epochs)
    trainer.fit(base, base_data)
    trainer.save_checkpoint(out / "base.ckpt")

    data = EpisodeDataModule(*files, ties="shuffle", max_history=20, batch_size=64, eval_support=SUPPORTS)
    meta = MAMLRecallModule(
        encoder_config, init_from=str(out / "base.ckpt"), candidates="catalogue",
        inner_loop=InnerLoopConfig(steps=3), optimizer=OptimizerConfig(tower_lr=0.001),
    )  # fmt: skip
    trainer_of(epochs).fit(meta, data)

    learner = Learner.of_meta(meta, data)
    figure, axes = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
    for k, (_, test) in data.by_support.items():
        by_step = []
        for ranks in learner.ranks(test, steps=6)[0]:
            metrics = RankingMetrics([10])
            metrics.update_ranks(ranks)
            by_step.append(float(metrics.compute()["recall@10"]))
        print(f"{k:>2} told, Recall@10 after each step:", *(f"{value:.4f}" for value in by_step))
        axes.plot(by_step, marker="o", label=f"{k} told")
    axes.set(xlabel="inner steps (trained with 3)", ylabel=f"Recall@10, {len(data.by_support[1][1])} newcomers")
    figure.legend(loc="outside right center", fontsize=8, frameon=False)

    recommender = Recommender(meta)
    titles = dict(zip(recommender.pool.ids, recommender.pool.titles, strict=True))
    for adapt in (False, True):
        best = recommender.recommend({"zoe": ids_of(recommender, LIKED)}, k=4, adapt=adapt).of("zoe")
        print("zoe, adapted:" if adapt else "zoe, unadapted:", ", ".join(titles[item] for item, _ in best))
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Walk through all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("downloads/movielens-100k"))
    parser.add_argument("--encoder", type=Path, default=Path("downloads/minilm"))
    parser.add_argument("--ckpt", type=Path, help="take this model, and train none but for newcomers")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("tour"), help="folder of plots and checkpoints")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    quiet_libraries()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    plots: dict[str, Figure] = {}

    print("== data")
    data = read(args.data, args.encoder)
    plots["tour-data"] = plot_data(data)
    print("== training")
    if args.ckpt:
        module = RecallModule.load_from_checkpoint(args.ckpt)
    else:
        module, plots["tour-training"] = train(data, args.epochs, args.out)
    print("== test")
    evaluate(module, data)
    print("== items")
    recommender = Recommender(module)
    look_at_items(recommender)
    plots["tour-items"] = plot_items(recommender)
    print("== a user, a reason, a new item")
    recommend(recommender)
    print("== newcomers")
    plots["tour-newcomers"] = newcomers(args.data, args.encoder, args.epochs, args.out)
    for name, figure in plots.items():
        figure.savefig(args.out / f"{name}.png", dpi=100)
    print("plots:", *(str(args.out / f"{name}.png") for name in plots))


if __name__ == "__main__":
    main()
