"""MAMLRecallModule: learns a start from which a few steps on a new user's support recall what they take next."""

import logging
from dataclasses import asdict
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torchmetrics import SumMetric
from transformers import PreTrainedModel

from recall_lightning.data.batches import EvalBatch, TrainBatch
from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.errors import InputError
from recall_lightning.losses import RecallLoss, with_positions
from recall_lightning.meta.adaptation import Adaptation
from recall_lightning.meta.fast_weights import FastWeights, UserVector
from recall_lightning.meta.step_sizes import StepSizes
from recall_lightning.metrics import RankingMetrics
from recall_lightning.metrics.ranks import target_ranks
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.user_tower import UserTower
from recall_lightning.modules.candidates import known_candidates, placed
from recall_lightning.modules.checkpoint import Background
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.inner_loop_config import InnerLoopConfig
from recall_lightning.modules.optimizers import ParameterGroup
from recall_lightning.modules.recall import RecallModule
from recall_lightning.modules.warm_start import check_pooling, encoder_of, take_over
from recall_lightning.recipe import build

log = logging.getLogger(__name__)


class MAMLRecallModule(RecallModule):
    """Learns, over many users as tasks, a start and step sizes of the inner loop that adapts to a user's support.

    MAML (Finn et al., ICML 2017), first order or second, over fast weights that are the config's choice; items are
    encoded outside of the inner loop, once a meta-batch. Before adaptation a user is the user tower's answer to the
    support, as of `RecallModule`. Transitions are no part of the inner loop, which adapts vectors: they are added to
    the scores of what is asked for, and the outer loop learns how much they count there.

    Args:
        encoder: as of `RecallModule`, like all that isn't told here. Its trained part is learned by the outer loop.
        init_from: checkpoint of a `RecallModule`, whose weights, towers, prior, transitions and loss this starts from
            (the config needn't give them), its adapters made part of the encoder; None for new ones.
        fast_weights: what of the model is each user's own, by default their vector.
        inner_loop: how a user is adapted to.
        more: what else `RecallModule` takes.

    Raises:
        InputError: if the checkpoint can't be read, or pooling, prior, transitions, towers or loss are given that
            aren't the checkpoint's.
    """

    is_meta = True
    data: EpisodeDataModule  # `setup` sees to that
    fast_weights: FastWeights

    def __init__(
        self,
        encoder: EncoderConfig,
        init_from: str | None = None,
        fast_weights: FastWeights | None = None,
        inner_loop: InnerLoopConfig = InnerLoopConfig(),  # noqa: B008  # read, never changed
        user_tower: UserTower | None = None,
        item_tower: ItemTower | None = None,
        loss: RecallLoss | None = None,
        candidates: Literal["batch", "catalogue"] = "catalogue",
        **more: Any,
    ) -> None:
        start: RecallModule | None = None
        if init_from is not None:
            start = RecallModule.load_from_checkpoint(init_from)
            check_pooling(start, encoder, init_from)
            for key in ("prior", "transitions", "neighbours"):
                if more.get(key) and not getattr(start, key):
                    raise InputError(
                        f"model.{key} is true, but {init_from} (model.init_from) has none: leave the key out, or start "
                        "from a checkpoint that was trained with it"
                    )
            for name, part in [("user_tower", user_tower), ("item_tower", item_tower), ("loss", loss)]:
                if part is not None and part.recipe() != start.hparams[name]:
                    raise InputError(
                        f"model.{name} is not that of {init_from} (model.init_from), which has {start.hparams[name]}: "
                        "leave the key out, or start from another checkpoint"
                    )
            user_tower, item_tower, loss = (build(start.hparams[n]) for n in ("user_tower", "item_tower", "loss"))
            more |= {"prior": start.prior, "transitions": start.transitions, "neighbours": start.neighbours}
        super().__init__(
            encoder, user_tower=user_tower, item_tower=item_tower, loss=loss, candidates=candidates, **more
        )
        if self._towers[1].reads_text:
            raise InputError("model.user_tower reads text: the inner loop adapts towers that read item vectors")
        self.init_from, self.inner_loop = init_from, inner_loop
        # in tuples, so that they are no parts of this module: one is made so in `build`, the other is let go there
        self._start, self._fast_weights = (start,), (fast_weights or UserVector(),)
        recipe = self._fast_weights[0].recipe()
        self.hparams.update({"fast_weights": recipe, "inner_loop": asdict(inner_loop), "init_from": init_from})
        self.diverged = 0  # users of the last validation or test to whom adaptation came to nothing

    def setup(self, stage: str) -> None:
        """Make the weights, or take those of `init_from`.

        Raises:
            InputError: if the data gives no episodes, or `init_from` was trained on other data, or on users whom the
                split holds out.
        """
        if not isinstance(self.data, EpisodeDataModule):
            raise InputError("MAMLRecallModule learns from episodes: give it an EpisodeDataModule (`method: maml`)")
        super().setup(stage)

    def _begin(self) -> None:
        (start,) = self._start
        if start is None:
            super()._begin()
            return
        assert start.background is not None
        start.background.check(self.data, f"model.init_from {self.init_from}")
        if self.data.max_history != start.model.max_history:
            raise InputError(
                f"data.max_history is {self.data.max_history}, but the towers of {self.init_from} (init_from) see "
                f"{start.model.max_history} items: set it to that"
            )
        self.build(encoder_of(start, self.encoder_config), self._background())
        take_over(self, start, f"{self.init_from} (model.init_from)", items=True)
        self._start = (None,)

    def build(self, model: PreTrainedModel, background: Background) -> None:
        super().build(model, background)
        (self.fast_weights,), config = self._fast_weights, self.inner_loop
        tower = self.model.user_tower
        self.fast_weights.shape(self.model.dim, tower)
        self.rates = StepSizes(
            self.fast_weights.adapted, rate=config.rate, learned=config.learned_rates, per_step=config.per_step,
            steps=config.steps,
        )  # fmt: skip
        self._trained = {name: p for name, p in self.named_parameters() if p.requires_grad}

    @property
    def adaptation(self) -> Adaptation:
        """How users are adapted to, with the weights as they are."""
        config = self.inner_loop
        return Adaptation(
            self.model.user_tower, self.loss, self.fast_weights, self.rates, config.steps, config.engine
        )  # fmt: skip

    # -- training ------------------------------------------------------------------------------------------------------

    def training_step(self, batch: TrainBatch, batch_idx: int) -> dict[str, Tensor]:  # type: ignore[override]
        """The loss of the queries after adaptation to the supports.

        Returns:
            `loss`; and for callbacks `support_losses` `(steps + 1,)` and `query_losses` `(steps counted,)`.
        """
        config, step = self.inner_loop, self._step_items(batch)
        users, inner = self.adaptation.run(
            step.vectors, placed(batch.history, step.of_batch), log_q=step.log_q, second_order=not config.first_order
        )
        targets, known = placed(batch.targets, step.of_batch), known_candidates(batch, self.model.n_items, step.items)
        counted = users[1:] if config.query_loss == "every" else users[-1:]
        queries = [
            self.loss.nll(
                *with_positions(vectors, step.vectors, targets),
                step.log_q,
                known,
                bonus=self._bonus(vectors[:, None], batch, step.rows),
            )
            for vectors in counted
        ]
        nll = torch.stack(queries).mean()
        if not nll.isfinite():
            raise InputError(
                f"model.inner_loop: the query loss is {nll.item():g} at step {self.global_step}, so the inner loop has "
                "diverged. Lower model.inner_loop.rate, now "
                f"{config.rate}, or model.optimizer.tower_lr"
            )
        return {
            "loss": self._logged(nll * self._share(targets), step.vectors),
            "support_losses": torch.stack([loss.detach().mean() for loss in inner]),
            "query_losses": torch.stack([query.detach() for query in queries]),
        }

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def user_vectors(self, batch: EvalBatch) -> Tensor:
        """`(batch, dim)` float32: the users of a batch, adapted to."""
        return self.adaptation.serve(self.item_vectors, batch.history)[0][-1]

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        ks = self.hparams["ks"]
        self._n_diverged = SumMetric().to(self.device)
        self.by_support = {
            k: (RankingMetrics(ks).to(self.device), RankingMetrics(ks).to(self.device)) for k in self.data.eval_support
        }

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:
        self._rank_both(batch, self.val_metrics)

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:  # type: ignore[override]  # no lists
        self._rank_both(batch, self.test_metrics)

    def _rank_both(self, batch: EvalBatch, metrics: RankingMetrics) -> None:
        """Rank for users before and after adaptation; `metrics` count the latter over all numbers of support."""
        users, diverged = self.adaptation.serve(self.item_vectors, batch.history)
        self._n_diverged.update(diverged.sum())
        before, after = self.by_support[batch.history.shape[1]]  # all users of a batch have as many
        before.update_ranks(
            torch.cat([target_ranks(scores, targets) for scores, targets in self._scores(users[0], batch)])
        )
        after.update_ranks(self._rank(users[-1], batch, metrics)["ranks"])

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_by_support("val")

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_by_support("test")

    def _log_by_support(self, stage: str) -> None:
        """Each metric before and after adaptation, and the gain, by number of support interactions."""
        for k, (before, after) in self.by_support.items():
            start, end = before.compute(), after.compute()
            for name in (f"{measure}@{at}" for measure in ("recall", "ndcg") for at in self.hparams["ks"]):
                told = {"": end[name], "unadapted_": start[name], "gain_": end[name] - start[name]}
                self.log_dict({f"{stage}_support_{k}/{kind}{name}": value for kind, value in told.items()})
        self.diverged = int(self._n_diverged.compute())  # of all processes together
        if self.diverged and self.trainer.is_global_zero:
            log.info("%d users got the unadapted answer: their inner loop diverged", self.diverged)

    # -- optimizer and checkpoint --------------------------------------------------------------------------------------

    def _parameter_groups(self) -> list[ParameterGroup]:
        # not decayed: a head that falls short of the identity is no simpler one
        start, rates = list(self.fast_weights.parameters()), list(self.rates.parameters())
        return [
            *super()._parameter_groups(),
            ParameterGroup("fast-weights", self.optimizer_config.tower_lr, start, decayed=False),
            ParameterGroup("step-sizes", self.inner_loop.rates_lr, rates, decayed=False),
        ]

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], source: str) -> Self:
        module = super().restored(checkpoint, source)
        module.hparams["init_from"] = checkpoint["hyper_parameters"].get("init_from")  # to compare with, if it is there
        return module

    @classmethod
    def _settings(cls, saved: dict[str, Any]) -> dict[str, Any]:
        inner_loop, fast_weights = InnerLoopConfig(**saved["inner_loop"]), build(saved["fast_weights"])
        own = {"inner_loop": inner_loop, "fast_weights": fast_weights, "init_from": None}  # all weights are here
        return super()._settings(saved) | own
