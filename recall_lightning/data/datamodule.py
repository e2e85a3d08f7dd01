"""RecallDataModule: from files to batches."""

import logging
import os
from collections.abc import Callable, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from recall_lightning.data.batches import EvalCollator, TrainCollator, log_batch_chance
from recall_lightning.data.filters import Filters
from recall_lightning.data.grouping import Repeats, Ties
from recall_lightning.data.preparing import prepare
from recall_lightning.data.ragged import Ints
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.sampler import EpochSampler, Keys, ResumableLoader
from recall_lightning.data.sequences import first_of_each, sequences
from recall_lightning.data.splits import Cases, Split, Splits
from recall_lightning.data.tokens import Tokens, tokenize
from recall_lightning.errors import InputError
from recall_lightning.pretrained import load_tokenizer

log = logging.getLogger(__name__)

Collator = TypeVar("Collator", bound=TrainCollator)


class RecallDataModule(L.LightningDataModule):
    """Reads interactions and items, splits them, and makes batches of users.

    Args:
        reader: where the data is and in which layout.
        text: template of an item's text, with columns of the items in braces: `"{title} ({year}). {genres}"`. What is
            missing goes with its brackets and separators.
        encoder: folder of the encoder, for its tokenizer. In a config it is set once, as `model.encoder.path`.
        splits: how the interactions are split.
        ties: what orders one user's interactions at the same time: `row` keeps the file's order, `shuffle` takes a
            seeded hash of user and item. Without times, row order is time order with `row`, and means nothing with
            `shuffle`.
        min_weight: interactions of less weight (a low rating) are left out.
        since: interactions before this moment (seconds or ISO 8601) are left out.
        until: interactions at this moment and after it are left out.
        missing_text: what to do about interactions with items that have no text: `error`, or `drop` them.
        repeats: which of a user's interactions with the same item counts.
        min_interactions: users with fewer different items are left out,
        min_users: and so are items with fewer users, in turns until all that are left have enough (the k-core).
        catalogue_items: the items that are ranked: all that are `described`, or those with an `interacted` one left.
        batch_size: users a training step.
        eval_batch_size: users a step of validation and test.
        max_history: how many of a user's newest items the user tower sees. A longer training history is cut into
            several sequences, so that each interaction is a target once an epoch.
        train_first: train on so many of each user's first interactions alone, for a model of newcomers; null for all.
            Popularity, transitions, neighbours and which items are known are of all interactions either way: meant to
            go on with `model.init_from`, since an item that is taken later alone is but a negative here.
        cut_share: share of a step's sequences that are cut in two at a random place, drawn anew each epoch: so that
            short histories are seen that begin anywhere, and every interaction stays a target once an epoch. A step
            then has up to twice as many rows, as long as the longest.
        max_text_tokens: an item's text is cut there, special tokens included.
        history_tokens: for user towers that read text: most tokens of a history's joined texts.
        n_negatives: items drawn uniformly from the catalogue for each batch, beside the batch's own.
        max_encoded_items: most items a step that are encoded with gradient; the vectors of the others come from a
            cache (Zhang et al., KDD 2022). null: all of the batch. Under `model.candidates: catalogue` a third
            of them, or with null half as many more, are drawn from the rest of the catalogue (see `draw_encoded`).
        sort_by_length: whether a batch's sequences are of about one length, which spares filling where lengths differ
            much. Batches then differ in how many interactions they hold, which the chance of a batch's items to be
            drawn doesn't know of: meant for `model.candidates: catalogue`.
        num_workers: processes that make batches.
        cache_dir: where read data and tokens are kept, by default the user's cache folder.
        seed: of every draw.

    Attributes:
        encodes_catalogue: whether items beside a batch's own get gradient, see `TrainCollator`; a module that trains
            its encoder with the whole catalogue as candidates says so before it asks for batches.
    """

    encodes_catalogue = False

    def __init__(
        self,
        reader: Reader,
        text: str,
        encoder: str,
        splits: Splits = Splits(),  # noqa: B008  # read, never changed
        ties: Ties = "row",
        min_weight: float | None = None,
        since: str | float | None = None,
        until: str | float | None = None,
        missing_text: Literal["error", "drop"] = "error",
        repeats: Repeats = "first",
        min_interactions: int = 1,
        min_users: int = 1,
        catalogue_items: Literal["described", "interacted"] = "described",
        batch_size: int = 64,
        eval_batch_size: int = 256,
        max_history: int = 50,
        train_first: int | None = None,
        cut_share: float = 0.0,
        max_text_tokens: int = 64,
        history_tokens: int | None = None,
        n_negatives: int = 0,
        max_encoded_items: int | None = None,
        sort_by_length: bool = False,
        num_workers: int = 0,
        cache_dir: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in [
            ("batch_size", batch_size, 1), ("eval_batch_size", eval_batch_size, 1), ("max_history", max_history, 1),
            ("max_text_tokens", max_text_tokens, 4), ("n_negatives", n_negatives, 0), ("num_workers", num_workers, 0),
            ("max_encoded_items", max_encoded_items, 1), ("history_tokens", history_tokens, 4),
            ("train_first", train_first, 2), ("seed", seed, 0),
        ]:  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"data.{name} is {value}: give {least} or more")
        if not 0 <= cut_share <= 1:
            raise InputError(f"data.cut_share is {cut_share}: give a share from 0 to 1")
        if cut_share and history_tokens is not None:
            raise InputError(
                f"data.cut_share is {cut_share}, but of a history that is read as text (data.history_tokens) one place "
                "is drawn each epoch anyway: set it to 0"
            )
        splits.check()
        self.filters = Filters(
            min_weight, since, until, missing_text, repeats, min_interactions, min_users, catalogue_items
        )
        self.filters.check()
        self.reader, self.text, self.encoder, self.splits, self.ties = reader, text, encoder, splits, ties
        self.batch_size, self.eval_batch_size, self.max_history = batch_size, eval_batch_size, max_history
        self.train_first, self.cut_share = train_first, cut_share
        self.max_text_tokens, self.history_tokens = max_text_tokens, history_tokens
        self.n_negatives, self.max_encoded_items = n_negatives, max_encoded_items
        self.sort_by_length, self.num_workers, self.seed = sort_by_length, num_workers, seed
        self.cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
        self.save_hyperparameters(
            {
                "reader": reader.recipe(), "text": text, "encoder": encoder, "splits": asdict(splits), "ties": ties,
                **asdict(self.filters),
                "batch_size": batch_size, "eval_batch_size": eval_batch_size, "max_history": max_history,
                "train_first": train_first, "cut_share": cut_share,
                "max_text_tokens": max_text_tokens, "history_tokens": history_tokens, "n_negatives": n_negatives,
                "max_encoded_items": max_encoded_items, "sort_by_length": sort_by_length, "num_workers": num_workers,
                "cache_dir": cache_dir, "seed": seed,
            },
            logger=False,  # the callback FinalMetrics logs them
        )  # fmt: skip
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self._read = False
        self._loader: ResumableLoader | None = None
        self._resumed: dict[str, int] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read, split and tokenize, once.

        Raises:
            InputError: if a file, a row or an option can't be used.
        """
        if self._read:
            return
        self.prepared = prepare(self.reader, self.text, self.filters, self.ties, self.seed, self.cache_dir)
        self.interactions, self.catalogue = self.prepared.interactions, self.prepared.catalogue
        self.split: Split = self.splits.split(self.interactions, self.catalogue.ids, self.seed)
        self.tokenizer = self.tokenizer or load_tokenizer(self.encoder)
        self.tokens: Tokens = tokenize(
            self.catalogue.texts, self.tokenizer, max_tokens=self.max_text_tokens, cache_dir=self.cache_dir
        )
        self.counts: Ints = self.split.train.item_counts(len(self.catalogue))
        self.sequences = sequences(self.split.train, self.max_history, self.train_first)
        trained = first_of_each(self.split.train, self.train_first)
        self._n_trained, self._trained_counts = len(trained), self.counts
        if self.train_first is not None:
            self._trained_counts = trained.item_counts(len(self.catalogue))
        self._read = True
        log.info(
            "%d users, %d items, %d interactions: %d to train on in %d sequences, %d cases to validate, %d to test",
            self.interactions.n_users, len(self.catalogue), len(self.interactions), self._n_trained,
            len(self.sequences), len(self.split.validation), len(self.split.test),
        )  # fmt: skip
        left_out = [f"{n:,} interaction(s) left out: {why}" for why, n in self.prepared.left_out.items()]
        for line in [*self.prepared.broken, *left_out, *self.split.notes]:
            log.info("%s", line)

    def train_dataloader(self) -> DataLoader[object]:
        if len(self.sequences) == 0:
            raise InputError(
                "data: no user has two interactions to train on (after those held back). Give longer histories"
            )
        one_target = self.history_tokens is not None  # a user: where a tower reads text, only that is among the items
        drawn = (1 if one_target else self._n_trained / len(self.sequences)) * self.batch_size
        lengths = self.sequences[:, 1] - self.sequences[:, 0]
        return self._train_loader(self._collator(TrainCollator, self._trained_counts, drawn, self.sequences), lengths)

    def _collator(self, kind: type[Collator], counts: Ints, drawn: float, spans: Ints, **more: Any) -> Collator:
        """A collator of training batches that touch `drawn` interactions each, an item's chance being by `counts`."""
        held = self.split.held_items
        trainable = np.flatnonzero(~held) if held is not None and held.any() else None
        n_trainable = None if trainable is None else len(trainable)
        n_processes = self.trainer.world_size if self.trainer else 1  # a step's items are those of all
        # processes that share an encoder's layers run them equally often
        sharded = self.trainer is not None and isinstance(self.trainer.strategy, ModelParallelStrategy)
        return kind(
            train=self.split.train,
            tokens=self.tokens,
            log_q=log_batch_chance(counts, drawn * n_processes, self.n_negatives * n_processes, n_trainable),
            spans=spans,
            n_negatives=self.n_negatives,
            trainable=trainable,
            max_encoded=self.max_encoded_items,
            from_catalogue=self.encodes_catalogue,
            history_tokens=self.history_tokens,
            seed=self.seed,
            max_buckets=1 if sharded else 4,
            cut_share=self.cut_share,
            **more,
        )

    def _train_loader(self, collate: Callable[..., object], lengths: Ints) -> DataLoader[object]:
        """Batches of what `collate` makes of keys `(epoch, index)`, an index for each of `lengths`."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(
            len(lengths), seed=self.seed, rank=rank, world_size=world_size, batch_size=self.batch_size,
            lengths=torch.from_numpy(lengths) if self.sort_by_length else None,
        )  # fmt: skip
        if self.trainer:  # after a resume this is not epoch 0, and Lightning tells the sampler too late for workers
            sampler.set_epoch(self.trainer.current_epoch)
        self._loader = ResumableLoader(
            Keys(), sampler=sampler, batch_size=self.batch_size, collate_fn=collate, num_workers=self.num_workers,
            pin_memory=self._pin(), persistent_workers=False,
        )  # fmt: skip
        if self._resumed is not None:
            self._loader.load_state_dict(self._resumed)
            self._resumed = None
        return self._loader

    def state_dict(self) -> dict[str, int]:
        """Where training stands in its epoch, for the checkpoint.

        Lightning keeps the loader's own state, too, but doesn't give it back to a loader that was already made to
        estimate the number of steps.
        """
        inside = self._loader is not None and self.trainer is not None and not self.trainer.is_last_batch
        return self._loader.state_dict() if self._loader is not None and inside else {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resumed = state or None

    def val_dataloader(self) -> DataLoader[object]:
        return self._eval_loader(self.split.validation)

    def test_dataloader(self) -> DataLoader[object]:
        return self._eval_loader(self.split.test)

    def predict_dataloader(self) -> DataLoader[object]:
        """Every user with all that is known of them, and nothing to be recalled."""
        ends = np.stack([self.interactions.offsets[:-1], self.interactions.offsets[1:]], 1)
        users, nothing = np.arange(self.interactions.n_users), np.stack([ends[:, 1], ends[:, 1]], 1)
        return self._eval_loader(Cases(self.interactions, users, ends, nothing, known=ends))

    def _eval_loader(self, cases: Cases) -> DataLoader[object]:
        return self._eval_loader_of(self._eval_collator(cases), cases)

    def _eval_loader_of(self, collate: Callable[..., object], cases: Sized) -> DataLoader[object]:
        world_size = self.trainer.world_size if self.trainer else 1
        if 0 < len(cases) < world_size:  # a process without any would leave the others waiting for its metrics
            raise InputError(
                f"trainer.devices: {world_size} processes share {len(cases)} case(s) to rank, so some would have none. "
                "Start fewer, or hold out more users"
            )
        return DataLoader(
            Keys(), sampler=self._share(cases), batch_size=self.eval_batch_size, num_workers=self.num_workers,
            pin_memory=self._pin(), collate_fn=collate,
        )  # fmt: skip

    def _eval_collator(self, cases: Cases) -> EvalCollator:
        return EvalCollator(cases, self.tokens, self.max_history, self.history_tokens)

    def _share(self, cases: Sized) -> range:
        """This process's cases; no case is in two, so that a mean over users stays exact under DDP."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return range(rank, len(cases), world_size)

    def _pin(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/recall-lightning`, or the same under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recall-lightning"
