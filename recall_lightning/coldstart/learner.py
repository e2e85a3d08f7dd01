"""Learner: a checkpoint's model that adapts to each user's support."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from recall_lightning.baselines.evaluate import stack_ranks
from recall_lightning.data.batches import EvalBatch, EvalCollator
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.sampler import Keys
from recall_lightning.data.splits import Cases
from recall_lightning.data.tokens import tokenize
from recall_lightning.errors import InputError
from recall_lightning.meta.adaptation import Adaptation
from recall_lightning.meta.fast_weights import FastWeights
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.scoring import SCORES_AT_ONCE, score_chunks
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.recall import RecallModule
from recall_lightning.recipe import build


class Learner:
    """A model with its item vectors, made once, and its way of adapting.

    Args:
        module: restored from a checkpoint.
        adaptation: how it adapts.
        data: already set up.
    """

    def __init__(self, module: RecallModule, adaptation: Adaptation, data: RecallDataModule) -> None:
        assert module.background is not None
        self.adaptation, self._data, self._similarity = adaptation, data, module.loss.similarity
        self._max_history = module.background.max_history
        self._model, self._items = module.model, _item_vectors(module, data.cache_dir)

    @classmethod
    def of_meta(cls, module: MAMLRecallModule, data: RecallDataModule) -> Self:
        """A meta-trained model, as it learned to adapt."""
        return cls(module, module.adaptation, data)

    @classmethod
    def of_base(cls, base: RecallModule, meta: MAMLRecallModule, data: RecallDataModule) -> Self:
        """The control: a model that wasn't meta-trained, which adapts the same kind of weights by the same loss.

        Its step size is still to be set.

        Raises:
            InputError: if it can't be adapted so.
        """
        if base.model.user_tower.reads_text:
            raise InputError("--base: its user tower reads text, but the inner loop adapts towers that read items")
        weights: FastWeights = build(meta.hparams["fast_weights"])
        try:
            weights.shape(base.model.dim, base.model.user_tower)
        except ValueError as error:
            raise InputError(f"--base: {error}") from error
        rates = _fixed(weights, 1.0)
        adaptation = replace(meta.adaptation, tower=base.model.user_tower, loss=base.loss, fast_weights=weights.eval())
        return cls(base, replace(adaptation, rates=rates), data)

    def set_rate(self, rate: float) -> None:
        """Take steps of this size."""
        self.adaptation = replace(self.adaptation, rates=_fixed(self.adaptation.fast_weights, rate))

    def ranks(self, cases: Cases, steps: int, *, only_last: bool = False) -> tuple[list[Tensor], int]:
        """Adapt to the users of cases, and rank the whole catalogue for each.

        Args:
            cases: whose histories are the supports.
            steps: of the inner loop.
            only_last: whether only the ranks after the last step are wanted.

        Returns:
            Ranks `(cases, relevant)`, as of `target_ranks`, after 0, 1, ... steps; and to how many users the inner loop
            diverged, who got the unadapted answer.
        """
        found: list[list[Tensor]] = [[] for _ in range(1 if only_last else steps + 1)]
        n_diverged = 0
        collate = EvalCollator(cases, self._data.tokens, max_history=self._max_history, history_tokens=None)
        n_scores = len(self._items) * (int(cases.history_lengths.max()) + 1)  # of each user, at every position
        at_once = max(1, min(self._data.eval_batch_size, SCORES_AT_ONCE // n_scores))
        for batch in DataLoader(Keys(), sampler=range(len(cases)), batch_size=at_once, collate_fn=collate):
            assert isinstance(batch, EvalBatch)
            users, diverged = self.adaptation.serve(self._items, batch.history, steps=steps)
            n_diverged += int(diverged.sum())
            for ranks, vectors in zip(found, users[-1:] if only_last else users, strict=True):
                added = self._model.bonus(vectors, batch.history)
                scored = score_chunks(vectors, self._items, self._similarity, added=added, known=batch.known)
                ranks.append(torch.cat([target_ranks(scores, batch.targets[chunk]) for chunk, scores in scored]))
        return [stack_ranks(ranks) for ranks in found], n_diverged


def _fixed(weights: FastWeights, rate: float) -> StepSizes:
    return StepSizes(weights.adapted, rate=rate, learned="no", per_step=False, steps=1)


@torch.no_grad()
def _item_vectors(module: RecallModule, folder: Path) -> Tensor:
    """`(items, dim)` float32: of the catalogue's texts as the model was trained with them."""
    own, model = module.background, module.model
    assert own is not None
    tokens = tokenize(own.catalogue.texts, own.tokenizer, max_tokens=own.max_text_tokens, cache_dir=folder)
    model.cache.vectors.copy_(kept_vectors(lambda: model.encoder, weights_digest(model.encoder), tokens, folder))
    return model.catalogue_vectors()
