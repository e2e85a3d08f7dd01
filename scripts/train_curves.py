"""Validation Recall@10 over training time, of bench_train.py's alternatives."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from train_alternatives import HISTORY_TOKENS, LAST, Article, BenchData, Ours, SentenceTransformers

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.losses import RecallLoss
from recall_lightning.metrics import RankingMetrics
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.scoring import score_chunks
from recall_lightning.models.similarity import Cosine
from recall_lightning.modules.encoding import encode_texts

Curve = list[tuple[float, float]]  # seconds of training, Recall@10
POINTS = 5
K = 10


def learn(data: RecallDataModule, seconds: float, n_cases: int, only: list[str] | None) -> dict[str, Curve]:
    """Train each, or those whose names begin so, for so long, validating before, between and after."""
    made = {}
    for name, train in {
        "ours, bf16, cache": _ours, "sentence-transformers, bf16": _sentence_transformers, "article": _article
    }.items():  # fmt: skip
        if only is not None and not any(name.startswith(part) for part in only):
            continue
        made[name] = train(data, seconds, n_cases)
        print(name, *(f"{at:.0f} s {recall:.4f}" for at, recall in made[name]), sep="; ", flush=True)
    return made


class Clock:
    """Training time, and when to validate.

    Args:
        seconds: of training.
        validate: gives Recall@10; its time isn't counted.
    """

    def __init__(self, seconds: float, validate: Callable[[], float]) -> None:
        self.seconds, self.validate = seconds, validate
        self.curve: Curve = [(0.0, validate())]
        self.trained, self.since = 0.0, time.process_time()

    def done(self) -> bool:
        """To be called after each step: validates if it is time to; whether training is over."""
        so_far = self.trained + time.process_time() - self.since
        if so_far >= self.seconds * len(self.curve) / POINTS:
            self.curve.append((so_far, self.validate()))
            self.trained, self.since = so_far, time.process_time()
        return len(self.curve) > POINTS


def recall(data: BenchData, users: Callable[[Any], Tensor], items: Tensor) -> float:
    """Recall@10 of the data's cases.

    Args:
        data: which cases.
        users: the vectors of a batch's users.
        items: `(items, dim)` vectors of the catalogue.
    """
    metrics = RankingMetrics([K])
    for batch in data.val_dataloader():
        for chunk, scores in score_chunks(users(batch), items, Cosine(), known=batch.known):
            metrics.update_ranks(target_ranks(scores, batch.targets[chunk]))
    return float(metrics.compute()[f"recall@{K}"])


def _article(data: RecallDataModule, seconds: float, n_cases: int) -> Curve:
    article, cases = Article(data), BenchData(data, n_cases=n_cases)

    def validate() -> float:
        items = _encoded(TextEncoder(article.model), cases)

        def users(batch: Any) -> Tensor:
            history = batch.history[:, -LAST:]
            return (items[history.clamp(min=0)] * (history >= 0)[..., None]).sum(1)

        return recall(cases, users, items)

    clock = Clock(seconds, validate)
    while not clock.done():
        article.step()
    return clock.curve


def _encoded(encoder: TextEncoder, data: BenchData) -> Tensor:
    """`(items, dim)`: the catalogue's vectors, made as fast as may be: that isn't timed."""
    with torch.autocast("cpu", torch.bfloat16):
        return encode_texts(encoder, data.tokens, torch.device("cpu"))


def _sentence_transformers(data: RecallDataModule, seconds: float, n_cases: int) -> Curve:
    cases = BenchData(data, n_cases=n_cases, history_tokens=HISTORY_TOKENS)
    trainer = SentenceTransformers(cases, precision="bf16", n_pairs=len(cases.sequences))
    encoder = TextEncoder(trainer.model[0].model)

    @torch.no_grad()
    def validate() -> float:
        def users(batch: Any) -> Tensor:
            joined = batch.history_tokens
            with torch.autocast("cpu", torch.bfloat16):
                return encoder.eval()(joined.ids, joined.mask)

        found = recall(cases, users, _encoded(encoder, cases))
        encoder.train()
        return found

    clock = Clock(seconds, validate)
    trainer.run(1_000_000, lambda _: clock.done())
    return clock.curve


def _towers(**changes: Any) -> dict[str, Any]:
    """New ones, as the configs have them."""
    item_tower = ItemTower(128, residual=True, residual_dropout=0.1)
    own = {"user_tower": None, "item_tower": item_tower, "loss": RecallLoss(temperature=0.05)}
    return own | {"candidates": "catalogue", "prior": True} | changes


def _ours(data: RecallDataModule, seconds: float, n_cases: int) -> Curve:
    """The configs' towers and loss; the encoder is trained, 64 items a step get gradient."""
    ours = Ours(
        data, precision="bf16", attention="packed", n_cases=n_cases, max_history=50, max_encoded_items=64,
        module=_towers(),
    )  # fmt: skip
    kept: list[Clock] = []

    class Validate(Callback):
        def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
            kept.append(Clock(seconds, lambda: _validated(module, ours.data)))

        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
            trainer.should_stop = kept[0].done()

    ours.run(10**6, Validate(), max_epochs=-1, limit_train_batches=1.0)
    return kept[0].curve


@torch.no_grad()
def _validated(module: Any, data: BenchData) -> float:
    """Recall@10 of a module in training, which stays as it was: what validation refreshes is no gift to training."""
    module.eval()
    cache = module.model.cache
    vectors, made_at = cache.vectors.clone(), cache.made_at.clone()
    module.refresh_cache()
    module.item_vectors = module.model.catalogue_vectors()
    metrics = RankingMetrics([K])
    for batch in data.val_dataloader():
        for scores, targets in module._scores(module.user_vectors(batch), batch):
            metrics.update_ranks(target_ranks(scores, targets))
    module.train()
    cache.vectors.copy_(vectors)
    cache.made_at.copy_(made_at)
    return float(metrics.compute()[f"recall@{K}"])


def converge(data: RecallDataModule, epochs: int) -> None:
    """Print Recall@10 after each epoch with all items of a step encoded in float32, and by bf16 and the cache."""
    exact = {"precision": "float32", "attention": "packed"}
    for name, settings in {
        "bf16, 128 items a step": {"precision": "bf16", "attention": "packed", "max_encoded_items": 128},
        "bf16, all items": exact | {"precision": "bf16"},
        "float32, all items": exact,
    }.items():
        ours, found = Ours(data, max_history=50, module=_towers(candidates="batch"), **settings), []

        class After(Callback):
            def __init__(self, data: BenchData, found: list[float]) -> None:
                self.data, self.found = data, found

            def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
                self.found.append(_validated(module, self.data))

        steps = ours.run(10**6, After(ours.data, found), max_epochs=epochs, limit_train_batches=1.0)
        seconds = sum(steps.seconds)
        print(f"{name}: Recall@{K} {', '.join(f'{one:.4f}' for one in found)}; {seconds:.0f} s of training", flush=True)


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Write the plot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), marker="o", label=name)
    axes.set_xlabel("seconds of training on one core, evaluation left out")
    axes.set_ylabel(f"validation Recall@{K}")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    print(f"drawn into {path}")
