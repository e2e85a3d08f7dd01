"""RecallModule: fine-tunes an encoder to recall items."""

import logging
import math
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from recall_lightning.data.batches import TrainBatch
from recall_lightning.errors import InputError
from recall_lightning.losses import RecallLoss, with_positions
from recall_lightning.metrics import RankingMetrics
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.prior import PlusPrior
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.transitions import Bonus
from recall_lightning.models.user_tower import TransformerTower, UserTower
from recall_lightning.modules.averaging import check_averaging
from recall_lightning.modules.candidates import StepItems, known_candidates, placed, step_items
from recall_lightning.modules.checkpoint import Background
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.frozen_layers import lower_of_texts
from recall_lightning.modules.optimizers import OptimizerConfig, ParameterGroup, configure
from recall_lightning.modules.ranking import RankingModule
from recall_lightning.modules.threshold import ThresholdChoice, ThresholdConfig
from recall_lightning.modules.warm_start import check_pooling, encoder_of, same_items, take_over
from recall_lightning.pretrained import load_model
from recall_lightning.recipe import build

log = logging.getLogger(__name__)


class RecallModule(RankingModule):
    """Trains an encoder, an item tower and a user tower with the recall loss, and ranks the whole catalogue.

    Args:
        encoder: the text encoder.
        user_tower: from a history of item vectors to the user's.
        item_tower: from a text vector to the item's.
        loss: what is minimised; it holds the similarity that ranks items, too.
        candidates: what a target is told apart from: the `batch`'s items (with log-q correction), or the whole
            `catalogue` (items that the step doesn't encode come from the cache).
        optimizer: learning rates, decay, warm-up.
        refresh_every_epochs: how often the cache of item vectors is made anew as a whole.
        ks: cut-offs of the metrics.
        predict_k: items a user that `predict` gives.
        threshold: by what each validation chooses alpha, the score from which on items are recalled.
        prior: whether scores start from how popular items are at such a place of a history: what short histories leave
            open. It needs a user tower that reads item vectors.
        transitions: whether what followed the newest items of histories in training is a part of the score, with a
            weight that is learned: what short histories are too few to teach a tower. It needs a user tower that reads
            item vectors.
        neighbours: the same of what else was taken by those who took a history's items, in whichever order: for short
            histories, and for such whose order says little.
        new_boost: what is added to the logits of items that no training interaction is with, where items are ranked. At
            0 they rank by what training says of items without one; each unit more makes them e times as likely, which
            costs the others some of their recall. For catalogues where what comes next is often new.
        init_from: checkpoint of a `RecallModule` whose weights training goes on from; None for new towers. Of the same
            training part all are taken, of other data all but those that tell single items. The config's towers have
            to be of the same classes and widths; rates, dropout and what is frozen are its own choice.
        seed: of dropout; with the step's number it gives every step its own draws, also after a resume.

    Raises:
        InputError: if a value is out of its range, or `init_from` can't be read.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        user_tower: UserTower | None = None,
        item_tower: ItemTower | None = None,
        loss: RecallLoss | None = None,
        candidates: Literal["batch", "catalogue"] = "batch",
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008  # read, never changed
        refresh_every_epochs: int = 1,
        ks: list[int] = [10, 50],  # noqa: B006  # read, never changed
        predict_k: int = 50,
        threshold: ThresholdConfig = ThresholdConfig(),  # noqa: B008  # read, never changed
        prior: bool = False,
        transitions: bool = False,
        neighbours: bool = False,
        new_boost: float = 0.0,
        init_from: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if refresh_every_epochs < 1:
            raise InputError(f"model.refresh_every_epochs is {refresh_every_epochs}: give 1 or more")
        if not ks or min(ks) < 1:
            raise InputError(
                f"model.ks is {ks}, but a list holds at least one item: give numbers from 1 up, such as [10]"
            )
        if predict_k < 1:
            raise InputError(f"model.predict_k is {predict_k}: give 1 or more")
        # in a tuple, so that they are parts of the model alone, which is made of them in `build`
        self._towers = (item_tower or ItemTower(), user_tower or TransformerTower())
        self.loss = loss if loss is not None else RecallLoss()
        self.encoder_config, self.candidates, self.optimizer_config = encoder, candidates, optimizer
        self.refresh_every_epochs, self.predict_k, self.seed = refresh_every_epochs, predict_k, seed
        self.prior, self.new_boost = prior, new_boost
        if not math.isfinite(new_boost):
            raise InputError(f"model.new_boost is {new_boost}: give a number, such as 0 or 1")
        if prior and self._towers[1].reads_text:
            raise InputError("model.prior is true, but the user tower reads text: choose another tower, or false")
        self.transitions, self.neighbours = transitions, neighbours
        for name, given in (("transitions", transitions), ("neighbours", neighbours)):
            if given and self._towers[1].reads_text:
                raise InputError(f"model.{name} is true, but the user tower reads text: choose another tower, or false")
        if self._towers[0].words is not None and self._towers[1].reads_text:
            raise InputError(
                "model.item_tower.init_args.words is given, but the user tower reads text: choose another, or null"
            )
        self.init_from = init_from
        # in a tuple, so that it is no part of this module, and is let go once its weights are taken
        self._start = (None if init_from is None else RecallModule.load_from_checkpoint(init_from),)
        if init_from is not None and self._start[0] is not None:
            check_pooling(self._start[0], encoder, init_from)
        self.val_metrics, self.test_metrics = RankingMetrics(ks), RankingMetrics(ks)
        self.threshold = ThresholdChoice(threshold)
        self.save_hyperparameters(
            {
                "encoder": asdict(encoder), "user_tower": self._towers[1].recipe(),
                "item_tower": self._towers[0].recipe(), "loss": self.loss.recipe(), "candidates": candidates,
                "optimizer": asdict(optimizer), "refresh_every_epochs": refresh_every_epochs, "ks": list(ks),
                "predict_k": predict_k, "threshold": asdict(threshold), "prior": prior,
                "transitions": transitions, "neighbours": neighbours, "new_boost": new_boost,
                "init_from": init_from, "seed": seed,
            },
            logger=False,  # the callback FinalMetrics logs them, with the metrics
        )  # fmt: skip
        self.background = None

    # -- building ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Make the weights, which need the catalogue's size.

        Raises:
            InputError: if user tower and data don't fit, or a checkpoint was trained on other data, or a callback can't
                average the weights.
        """
        if self._towers[1].reads_text != (self.data.history_tokens is not None):
            raise InputError(
                f"data.history_tokens is {self.data.history_tokens}: a user tower that reads text (TextTower) needs a "
                "number, such as 128, and every other tower needs null"
            )
        if self.background is not None:
            self.background.check(self.data, "the checkpoint", held_out=stage in {"validate", "test"})
        self._make_weights()
        self.tokens = self.data.tokens
        self.data.encodes_catalogue = self.candidates == "catalogue" and self.model.encoder.trained

    def configure_model(self) -> None:
        self._make_weights()  # callbacks that average weights ask for this before `setup`, Lightning after it
        super().configure_model()

    def _make_weights(self) -> None:
        check_averaging(self.trainer)
        if self.background is not None:
            return
        self._begin()
        n_encoder, n_all = (
            sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (self.model.encoder, self)
        )
        log.info("training %.1f M weights, %.1f M of them the encoder's", n_all / 1e6, n_encoder / 1e6)

    def _begin(self) -> None:
        """Make the weights, or take those of `init_from`."""
        (start,) = self._start
        background = self._background()
        if start is None:
            self.build(load_model(self.encoder_config.path, attention=self.encoder_config.attention), background)
            return
        name = f"{self.init_from} (model.init_from)"
        items = same_items(start, self.data, name)
        self.build(encoder_of(start, self.encoder_config), background)
        take_over(self, start, name, items=items)
        self._start = (None,)
        log.info("starting from %s, %s", self.init_from, "of this data" if items else "of other data")

    def _background(self) -> Background:
        return Background.of(self.data, prior=self.prior, transitions=self.transitions, beside=self.neighbours)

    def build(self, model: PreTrainedModel, background: Background) -> None:
        model.train()  # transformers hands it over for inference, its dropout off
        encoder = self.encoder_config.text_encoder(model)
        self.model = RecallModel(
            encoder, *self._towers, background.counts, background.max_history, background.popularity,
            float(self.loss.temperature), background.successors, background.neighbours, self.new_boost,
            None if self._towers[0].words is None else background.spelling(),
        )  # fmt: skip
        if self.model.n_prior:
            self.loss.similarity = PlusPrior(self.loss.similarity, self.model.n_prior - 1)
        self.background = background
        self._trained = {name: p for name, p in self.named_parameters() if p.requires_grad}

    # -- training ------------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        if self.sharded:  # whose layers run by calls of the whole encoder alone
            return
        with self.trainer.precision_plugin.forward_context():
            self.model.lower = lower_of_texts(self.model.encoder, self.tokens, self.device)

    def on_train_end(self) -> None:
        self.model.lower = None

    def on_train_epoch_start(self) -> None:
        if self._cached and self.current_epoch % self.refresh_every_epochs == 0:
            self.refresh_cache()

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        """The loss of a batch of histories."""
        step = self._step_items(batch)
        users = self._user_vectors(step.vectors, placed(batch.history, step.of_batch), batch)  # (batch, positions, dim)
        targets, known = placed(batch.targets, step.of_batch), known_candidates(batch, self.model.n_items, step.items)
        bonus = self._bonus(users, batch, step.rows)
        nll = self.loss.nll(*with_positions(users, step.vectors, targets), step.log_q, known, bonus=bonus)
        return self._logged(nll * self._share(targets), step.vectors)

    def _step_items(self, batch: TrainBatch) -> StepItems:
        """The candidates of a step, of all processes' batches where there are several."""
        gather = None if self.trainer.world_size == 1 else partial(self._gathered, gradient=True)
        return step_items(self.model, batch, whole=self.candidates == "catalogue", keep=self._cached, gather=gather)

    def _share(self, targets: Tensor) -> Tensor | float:
        """What this process's mean over its targets counts for, so that the mean over processes is that over all."""
        if self.trainer.world_size == 1:
            return 1.0
        n_targets = (targets >= 0).sum()
        return n_targets * self.trainer.world_size / self._gathered(n_targets).sum().clamp(min=1)

    def _bonus(self, users: Tensor, batch: TrainBatch, candidates: Tensor) -> Bonus | None:
        """What was counted adds to the scores of a step's candidates, told by `StepItems.rows`."""
        if not self.model.counted:
            return None
        history, targets = (placed(part, batch.items) for part in (batch.history, batch.targets))
        parts = {name: part(users, history, targets, candidates) for name, part in self.model.counted.items()}
        for name, bonus in parts.items():
            self.log(f"train/{name}", bonus.weights.mean() / self.model.counted[name].temperature)
        return Bonus.joined(list(parts.values()))

    def _logged(self, nll: Tensor, items: Tensor) -> Tensor:
        """The whole loss of a step, its likelihood part with what the regularizers charge for."""
        penalty = self.loss.penalty(self.model.without_prior(items), self._trained)
        self.log("train/loss", nll + penalty, prog_bar=True)
        self.log_dict({"train/nll": nll, "train/penalty": penalty})
        return nll + penalty

    @property
    def _cached(self) -> bool:
        return (
            self.data.max_encoded_items is not None or self.candidates == "catalogue" or not self.model.encoder.trained
        )

    # -- optimizer and checkpoint --------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        return configure(
            self.optimizer_config,
            self._parameter_groups(),
            n_steps=self.trainer.estimated_stepping_batches,
            fused=self.trainer.precision != "16-mixed",  # whose gradients are scaled until the step: not to be clipped
        )

    def _parameter_groups(self) -> list[ParameterGroup]:
        """The encoder's weights, and those of the towers and the loss."""
        config, encoder = self.optimizer_config, list(self.model.encoder.parameters())
        model = self.model
        words = [] if model.words is None else [model.words]
        parts = [model.item_tower, *words, model.user_tower, self.loss, *model.counted.values()]
        towers = [parameter for part in parts for parameter in part.parameters()]
        return [
            ParameterGroup("encoder", config.encoder_lr, encoder), ParameterGroup("towers", config.tower_lr, towers)
        ]  # fmt: skip

    @classmethod
    def _settings(cls, saved: dict[str, Any]) -> dict[str, Any]:
        parts = {name: build(saved[name]) for name in ("user_tower", "item_tower", "loss")}
        encoder, optimizer = EncoderConfig(**saved["encoder"]), OptimizerConfig(**saved["optimizer"])
        threshold = ThresholdConfig(**saved.get("threshold", {}))  # older checkpoints have none
        own = {"encoder": encoder, "optimizer": optimizer, "threshold": threshold}
        return saved | parts | own | {"init_from": None}  # all weights are in the checkpoint
