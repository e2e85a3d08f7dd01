"""What bench_train.py trains, a few steps at a time: the article's way, sentence-transformers' trainer, ours."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import functional as F

from recall_lightning.callbacks.rates import Rates
from recall_lightning.data.batches import TrainBatch, TrainCollator
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.ragged import Ints
from recall_lightning.data.splits import Cases
from recall_lightning.data.tokens import TokenBatch
from recall_lightning.losses import RecallLoss
from recall_lightning.models.user_tower import MeanTower, TextTower
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.recall import RecallModule
from recall_lightning.pretrained import load_model, load_tokenizer

LAST = 10  # items that describe a user
HISTORY_TOKENS = 128
PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}
TEMPERATURE = 0.05


@dataclass
class Steps:
    """What some steps took.

    Attributes:
        seconds: of processor time, each step's.
        positives: targets, each step's.
        tokens: that were read, filling left out, each step's.
    """

    seconds: list[float] = field(default_factory=list)
    positives: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def add(self, seconds: float, positives: int, tokens: int) -> None:
        self.seconds.append(seconds)
        self.positives.append(positives)
        self.tokens.append(tokens)

    @property
    def rate(self) -> float:
        """Positives a second."""
        return sum(self.positives) / sum(self.seconds)


class Article:
    """A loop as the article writes it: texts filled up to 128 tokens, a call of the tokenizer for each, AdamW at 2e-5.

    Args:
        data: set up.
        padded: whether a text is filled up, by a call of its own, or a batch only to its longest, in one call.
        batch_size: users a step; the article's is 16.
    """

    precision = "float32"

    def __init__(self, data: RecallDataModule, *, padded: bool = True, batch_size: int = 16) -> None:
        self.data, self.padded, self.batch_size = data, padded, batch_size
        self.model, self.tokenizer = load_model(data.encoder).train(), load_tokenizer(data.encoder)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-5)
        self.batches = self._batches()

    def _batches(self) -> Iterator[tuple[Ints, Ints]]:
        """Catalogue rows of the last items of users, and of what came next."""
        rng = np.random.default_rng(0)
        long = self.data.sequences[np.diff(self.data.sequences)[:, 0] > LAST]
        while True:
            starts = long[rng.permutation(len(long)), 0]
            for at in range(0, len(starts) - self.batch_size + 1, self.batch_size):
                rows = starts[at : at + self.batch_size, None] + np.arange(LAST + 1)
                items = self.data.split.train.items[rows]
                yield items[:, :-1], items[:, -1]

    def encode(self, texts: list[str]) -> tuple[Tensor, int]:
        """`(texts, dim)`, and how many tokens they had."""
        if self.padded:
            each = [
                self.tokenizer(text, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
                for text in texts
            ]
            ids, mask = (torch.cat([one[name] for one in each]) for name in ("input_ids", "attention_mask"))
        else:
            both = self.tokenizer(texts, padding=True, max_length=128, truncation=True, return_tensors="pt")
            ids, mask = both["input_ids"], both["attention_mask"]
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), int(mask.sum())

    def step(self) -> tuple[int, int]:
        """Positives and tokens."""
        history, targets = next(self.batches)
        texts = self.data.catalogue.texts
        past, n_past = self.encode([texts[row] for row in history.flatten()])
        items, n_items = self.encode([texts[row] for row in targets])
        users = F.normalize(past.view(*history.shape, -1).mean(1), dim=-1)
        logits = users @ F.normalize(items, dim=-1).T / TEMPERATURE
        F.cross_entropy(logits, torch.arange(len(targets))).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return len(targets), n_past + n_items

    def run(self, n: int) -> Steps:
        made = Steps()
        for _ in range(n):
            started = time.process_time()
            counted = self.step()
            made.add(time.process_time() - started, *counted)
        return made


class SentenceTransformers:
    """sentence-transformers' own trainer and loss, by its manual, on pairs (a history's joined texts, an item's).

    Args:
        data: with `history_tokens`; the pairs are those of its own training batches.
        precision: of `PRECISIONS`.
        n_pairs: that are made.
        batch_size: pairs a step.
    """

    def __init__(
        self, data: RecallDataModule, *, precision: str = "float32", n_pairs: int = 2048, batch_size: int = 64
    ) -> None:
        from sentence_transformers import SentenceTransformer

        self.data, self.precision, self.batch_size = data, precision, batch_size
        self.model = SentenceTransformer(data.encoder, device="cpu")
        self.model.max_seq_length = HISTORY_TOKENS
        self.pairs = pairs_of(data, n_pairs)

    def run(self, n: int, stop: Callable[[Any], bool] | None = None) -> Steps:
        """Train n steps, the first of which isn't counted, or until `stop` says so, which is asked after each."""
        from datasets import Dataset
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from transformers import TrainerCallback

        made, bench = Steps(), self
        counts = {"tokens": 0}

        class Counted(MultipleNegativesRankingLoss):
            def forward(self, features: Any, labels: Any) -> Any:
                features = list(features)
                counts["tokens"] = sum(int(part["attention_mask"].sum()) for part in features)
                return super().forward(features, labels)

        class Stopwatch(TrainerCallback):  # type: ignore[misc]
            before: float | None = None

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                now = time.process_time()
                if self.before is not None:
                    made.add(now - self.before, bench.batch_size, counts["tokens"])
                if stop is not None and stop(bench):
                    control.should_training_stop = True
                self.before = time.process_time()

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            settings = SentenceTransformerTrainingArguments(
                output_dir=folder, per_device_train_batch_size=self.batch_size, max_steps=n, use_cpu=True,
                bf16=self.precision == "bf16", report_to=[], save_strategy="no", disable_tqdm=True, learning_rate=2e-5,
                lr_scheduler_type="constant", dataloader_drop_last=True, logging_strategy="no",
            )  # fmt: skip
            SentenceTransformerTrainer(
                self.model, settings, Dataset.from_dict(self.pairs), loss=Counted(self.model), callbacks=[Stopwatch()]
            ).train()
        return made


def pairs_of(data: RecallDataModule, n: int) -> dict[str, list[str]]:
    """The pairs of texts that a user tower that reads text is trained on, as texts."""
    tokenizer, texts = data.tokenizer, data.catalogue.texts
    assert tokenizer is not None
    made: dict[str, list[str]] = {"history": [], "item": []}
    for batch in data.train_dataloader():
        joined = batch.history_tokens
        for ids, mask in zip(joined.ids, joined.mask, strict=True):
            made["history"].append(tokenizer.decode(ids[mask][1:-1]))  # its [SEP] are read as such again
        made["item"] += [texts[row] for row in batch.items[batch.targets[:, 0]].tolist()]
        if len(made["item"]) >= n:
            break
    return made


class Stopwatch(Callback):
    """Times a Trainer's steps from end to end: what it does between them is a part of them."""

    def __init__(self) -> None:
        self.made = Steps()
        self.before: float | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: TrainBatch, batch_idx: int
    ) -> None:
        now = time.process_time()
        if self.before is not None:
            read = 0 if batch.history_tokens is None else int(batch.history_tokens.mask.sum())
            self.made.add(now - self.before, int((batch.targets >= 0).sum()), batch.n_tokens + read)
        self.before = time.process_time()


@dataclass(frozen=True)
class Pieces(TrainCollator):
    """The product's batches without one piece or another."""

    every_position: bool = True
    buckets: bool = True

    def assemble(self, users: Ints, history: Ints, targets: Ints, rng: np.random.Generator) -> TrainBatch:
        if not self.every_position:
            targets = np.where(np.arange(targets.shape[1]) == targets.shape[1] - 1, targets, -1)
        batch = super().assemble(users, history, targets, rng)
        if self.buckets:
            return batch
        ids, mask = batch.tokens.ids, batch.tokens.mask
        return replace(batch, tokens=TokenBatch(ids, mask, ((0, *ids.shape),)))


class BenchData(RecallDataModule):
    """The program's data, in pieces, and with fewer users to validate.

    Args:
        data: of the program.
        every_position: whether each position of a history is a target, as is the product's way, or the last alone.
        buckets: whether texts are cut into buckets by length (of no matter where they are packed).
        n_cases: that are validated, drawn by a seed; None for all.
        changes: of the data's other settings.
    """

    def __init__(
        self, data: RecallDataModule, *, every_position: bool = True, buckets: bool = True, n_cases: int | None = None,
        **changes: Any,
    ) -> None:  # fmt: skip
        given = {**data.hparams, "reader": data.reader, "splits": data.splits}
        super().__init__(**(given | changes))  # type: ignore[arg-type]
        self.pieces = {"every_position": every_position, "buckets": buckets}
        self.n_cases = n_cases
        self.setup()

    def _collator(self, kind: Any, *given: Any, **more: Any) -> Any:
        return super()._collator(partial(Pieces, **self.pieces), *given, **more)

    @property
    def cases(self) -> Cases:
        """What is validated."""
        whole = self.split.validation
        rows = np.random.default_rng(0).permutation(len(whole))[: self.n_cases]
        picked = {name: getattr(whole, name)[rows] for name in ("users", "history", "targets", "known")}
        return replace(whole, **picked)

    def val_dataloader(self) -> Any:
        return self._eval_loader(self.cases)


class Ours:
    """The product's own modules under Lightning's Trainer, as `fit` runs them.

    Args:
        data: of the program.
        precision: of `PRECISIONS`.
        attention: of the encoder.
        dropout: of the encoder; None for its own.
        frozen_layers: of the encoder.
        module: other settings of `RecallModule`.
        pieces: of `BenchData`.
    """

    def __init__(
        self, data: RecallDataModule, *, precision: str = "float32", attention: str = "eager",
        dropout: float | None = 0.0, frozen_layers: int = 0, module: dict[str, Any] | None = None, **pieces: Any,
    ) -> None:  # fmt: skip
        self.data = BenchData(data, **pieces)
        self.precision, self.more = precision, module or {}
        self.encoder = EncoderConfig(data.encoder, "mean", frozen_layers, dropout, attention)  # type: ignore[arg-type]

    def module(self) -> RecallModule:
        tower = MeanTower(LAST) if self.data.history_tokens is None else TextTower()
        return RecallModule(
            self.encoder, **({"user_tower": tower, "loss": RecallLoss(temperature=TEMPERATURE)} | self.more)
        )

    def run(self, n: int, *callbacks: Callback, **settings: Any) -> Steps:
        """Train n steps and one more, the first, which isn't counted."""
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            given = {"max_epochs": 1, "limit_train_batches": n + 1, "limit_val_batches": 0} | settings
            trainer = L.Trainer(
                accelerator="cpu", devices=1, precision=PRECISIONS[self.precision],  # type: ignore[arg-type]
                callbacks=[Rates(), watch, *callbacks], gradient_clip_val=1.0, log_every_n_steps=10,
                logger=TensorBoardLogger(folder), enable_progress_bar=False, enable_model_summary=False,
                enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False, **given,
            )  # fmt: skip
            trainer.fit(self.module(), self.data)
        return watch.made
