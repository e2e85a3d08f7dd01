"""EpisodeDataModule: from files to meta-batches of users."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import zip_longest
from typing import Any

from torch.utils.data import DataLoader

from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.episodes import (
    EpisodeCollator,
    EpisodeConfig,
    SupportCollator,
    episode_counts,
    episode_spans,
)
from recall_lightning.data.readers.base import Reader
from recall_lightning.data.sampler import Keys
from recall_lightning.data.splits import Cases, Splits
from recall_lightning.errors import InputError


class EpisodeDataModule(RecallDataModule):
    """Makes tasks of training users, and asks held-out users about several numbers of support interactions.

    Held-out users (the split `cold_users`) are neither tasks nor counted anywhere.

    Args:
        reader: as of `RecallDataModule`, like all that isn't told here.
        text: template of an item's text.
        encoder: folder of the encoder, for its tokenizer.
        splits: `cold_users`; its `k` gives way to `eval_support`.
        episodes: what a training episode is made of.
        eval_support: numbers of support interactions that validation and test ask about.
        batch_size: users a meta-batch.
        more: what else `RecallDataModule` takes.
    """

    def __init__(
        self,
        reader: Reader,
        text: str,
        encoder: str,
        splits: Splits = Splits(name="cold_users"),  # noqa: B008  # read, never changed
        episodes: EpisodeConfig = EpisodeConfig(),  # noqa: B008  # read, never changed
        eval_support: list[int] = [1, 2, 3, 5, 10],  # noqa: B006  # read, never changed
        batch_size: int = 256,
        **more: Any,
    ) -> None:
        super().__init__(reader, text, encoder, splits, batch_size=batch_size, **more)
        if splits.name != "cold_users":
            raise InputError(
                f"data.splits.name is {splits.name}, but episodes need users who are held out whole: set it to "
                "cold_users"
            )
        if not eval_support or min(eval_support) < 1 or len(set(eval_support)) < len(eval_support):
            raise InputError(f"data.eval_support is {eval_support}: give different numbers from 1 up, such as [1, 5]")
        if self.train_first is not None or self.cut_share:
            raise InputError(
                "data.train_first and data.cut_share are of histories as sequences, but the method maml cuts episodes: "
                "set them to null and 0, and see data.episodes"
            )
        episodes.check(self.max_history)
        if max(eval_support) > self.max_history:
            raise InputError(
                f"data.eval_support is {eval_support}, but the user tower sees {self.max_history} items "
                "(data.max_history): raise that, or lower this"
            )
        for k in eval_support:
            replace(splits, k=k).check()
        self.episodes, self.eval_support = episodes, eval_support
        self.hparams.update({"episodes": asdict(episodes), "eval_support": list(eval_support)})

    def setup(self, stage: str | None = None) -> None:
        """As of `RecallDataModule`, and the cases for each number of support interactions.

        Raises:
            InputError: also if no held-out user has more than that many.
        """
        if self._read:
            return
        super().setup(stage)
        self.by_support = {k: self._cases_of(k) for k in self.eval_support}

    def cases(self, splits: Splits) -> tuple[Cases, Cases]:
        """Validation and test cases by another way of asking the same held-out users."""
        split = splits.split(self.interactions, self.catalogue.ids, self.seed)
        return split.validation, split.test

    def _cases_of(self, k: int) -> tuple[Cases, Cases]:
        try:
            return self.cases(replace(self.splits, k=k))
        except InputError as error:  # of data.splits.k, which isn't what was given
            raise InputError(
                f"data.eval_support is {self.eval_support}, but no user held out for validation, or none for the test, "
                f"has more than {k} interactions. Give smaller numbers, or raise data.splits.share"
            ) from error

    def train_dataloader(self) -> DataLoader[object]:
        train, config = self.split.train, self.episodes
        spans = episode_spans(train, config)
        drawn = self.batch_size * ((config.min_support + config.max_support) / 2 + config.n_queries)
        counts = episode_counts(train, config, len(self.catalogue))
        collate = self._collator(EpisodeCollator, counts, drawn, spans, episodes=config)
        return self._train_loader(collate, spans[:, 1] - spans[:, 0])

    def val_dataloader(self) -> DataLoader[object]:
        return self._support_loader({k: validation for k, (validation, _) in self.by_support.items()})

    def test_dataloader(self) -> DataLoader[object]:
        return self._support_loader({k: test for k, (_, test) in self.by_support.items()})

    def _support_loader(self, cases: Mapping[int, Cases]) -> DataLoader[object]:
        """Batches of one number of support interactions each; the numbers take turns, the largest first.

        One loader, since the Trainer would tell every metric once a loader; in turns, since it may be told to take the
        first few batches alone.
        """
        size, batches = self.eval_batch_size, []
        for k in sorted(cases, reverse=True):
            share = self._share(cases[k])
            batches.append([[(k, case) for case in share[at : at + size]] for at in range(0, len(share), size)])
        return DataLoader(
            Keys(), batch_sampler=[batch for turn in zip_longest(*batches) for batch in turn if batch is not None],
            num_workers=self.num_workers, pin_memory=self._pin(),
            collate_fn=SupportCollator({k: self._eval_collator(of_k) for k, of_k in cases.items()}),
        )  # fmt: skip
