"""PretrainModule: fits an encoder to a catalogue's texts, before anything is recalled."""

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recall_lightning.contrastive import alignment, contrastive_loss
from recall_lightning.data.pretrain_datamodule import PretrainDataModule, TextBatch
from recall_lightning.errors import InputError
from recall_lightning.models.lora import merge_adapters
from recall_lightning.models.masked_language import MaskedLanguageHead
from recall_lightning.models.pretraining import PretrainingModel
from recall_lightning.modules.averaging import check_averaging
from recall_lightning.modules.base import BaseModule
from recall_lightning.modules.checkpoint import fill, is_pretrained
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.optimizers import OptimizerConfig, ParameterGroup, configure
from recall_lightning.pretrained import (
    load_model,
    model_config,
    model_from_config,
    save_model,
    tokenizer_files,
    tokenizer_from_files,
)
from recall_lightning.regularizers import Uniformity

log = logging.getLogger(__name__)

OBJECTIVES = {"mlm", "contrastive"}


class PretrainModule(BaseModule):
    """Trains an encoder on texts alone: to tell masked tokens (BERT), and to tell texts apart (SimCSE).

    `loss = mlm_weight * mlm + contrastive_weight * contrastive`. An objective of weight 0 isn't computed at all.

    Args:
        encoder: the text encoder; its pooling makes the vectors that the contrastive objective compares.
        mlm_weight: of the masked-language loss, in nats a masked token (Devlin et al., NAACL 2019).
        contrastive_weight: of the contrastive loss, in nats a text (Gao et al., EMNLP 2021).
        mask_probability: of a token to be one that is to be told.
        temperature: cosines are divided by it.
        optimizer: learning rates, decay, warm-up; `tower_lr` is the masked-language head's.
        seed: of masks and dropout; with the step's number it gives every step its own draws, also after a resume.

    Raises:
        InputError: if a value can't be meant, or nothing would be trained.
    """

    data: PretrainDataModule  # `setup` sees to that
    model: PretrainingModel

    def __init__(
        self,
        encoder: EncoderConfig,
        mlm_weight: float = 0.1,
        contrastive_weight: float = 1.0,
        mask_probability: float = 0.15,
        temperature: float = 0.05,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008  # read, never changed
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, weight in [("mlm_weight", mlm_weight), ("contrastive_weight", contrastive_weight)]:
            if not 0 <= weight < math.inf:
                raise InputError(f"model.{name} is {weight}: give a number from 0 up")
        if not mlm_weight and not contrastive_weight:
            raise InputError("model.mlm_weight and model.contrastive_weight are 0: give one of them a number above 0")
        if not 0 < mask_probability < 1:
            raise InputError(f"model.mask_probability is {mask_probability}: give more than 0 and less than 1")
        if not 0 < temperature < math.inf:
            raise InputError(f"model.temperature is {temperature}: give a number above 0, such as 0.05")
        if encoder.frozen_layers == -1:
            raise InputError("model.encoder.frozen_layers is -1, so that nothing would be pretrained: give 0")
        if contrastive_weight and encoder.dropout == 0:
            raise InputError(_without_dropout("model.encoder.dropout is 0"))
        self.encoder_config, self.optimizer_config, self.seed = encoder, optimizer, seed
        self.mlm_weight, self.contrastive_weight = mlm_weight, contrastive_weight
        self.mask_probability, self.temperature = mask_probability, temperature
        self.save_hyperparameters(
            {
                "encoder": asdict(encoder), "mlm_weight": mlm_weight, "contrastive_weight": contrastive_weight,
                "mask_probability": mask_probability, "temperature": temperature, "optimizer": asdict(optimizer),
                "seed": seed,
            },
            logger=False,  # the callback FinalMetrics logs them, with the metrics
        )  # fmt: skip
        self.tokenizer: PreTrainedTokenizerBase | None = None
        names = ["mlm"] * (mlm_weight > 0) + ["contrastive", "alignment", "potential"] * (contrastive_weight > 0)
        self.measured: Mapping[str, MeanMetric]
        self.measured = nn.ModuleDict({name: MeanMetric() for name in names})  # type: ignore[assignment]  # acts as one

    # -- building ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Load the encoder, unless a checkpoint brought it.

        Raises:
            InputError: if it can't be loaded, or objectives, encoder and data don't fit, or a callback can't
                average the weights.
        """
        if not isinstance(self.data, PretrainDataModule):
            raise InputError("PretrainModule learns from texts: give it a PretrainDataModule (method: pretrain)")
        if self.contrastive_weight and min(self.data.batch_size, self.data.eval_batch_size) < 2:
            raise InputError(
                "data.batch_size or data.eval_batch_size is 1, but a text is told from the others of its batch: give 2 "
                "or more"
            )
        self.configure_model()

    def configure_model(self) -> None:
        """Load the encoder.

        Raises:
            InputError: if a callback can't average its weights, or the strategy is to share them.
        """
        check_averaging(self.trainer)
        if self.sharded:
            raise InputError("ModelParallelStrategy: pretraining shares no layers. Give --trainer.strategy ddp")
        if self.tokenizer is not None:  # callbacks that average weights ask for this before `setup`, Lightning after it
            return
        assert self.data.tokenizer is not None
        path, attention = self.encoder_config.path, self.encoder_config.attention
        self.build(load_model(path, attention=attention, masked_language=self.mlm_weight > 0), self.data.tokenizer)
        n_trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        log.info("pretraining %.1f M weights", n_trained / 1e6)

    def build(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Make the parts around a model.

        Args:
            model: with its masked-language head if `mlm_weight` is above 0; else the encoder alone.
            tokenizer: the encoder's.

        Raises:
            InputError: if the objectives ask for what the encoder doesn't have.
        """
        model.train()  # transformers hands it over for inference, its dropout off
        encoder: PreTrainedModel = model.base_model  # type: ignore[assignment]  # annotated as any module
        head = MaskedLanguageHead(model) if self.mlm_weight else None
        text_encoder = self.encoder_config.text_encoder(encoder)
        if self.contrastive_weight and not text_encoder.drops_out:
            raise InputError(
                _without_dropout(f"model.encoder.dropout is null, and the encoder {self.encoder_config.path} has none")
            )
        if self.mlm_weight and tokenizer.mask_token_id is None:
            raise InputError(
                f"model.encoder.path: the tokenizer of {self.encoder_config.path} has no mask token. Give an encoder "
                "that has one, or model.mlm_weight: 0"
            )
        self.model = PretrainingModel(
            text_encoder, head, mask_id=tokenizer.mask_token_id, special=torch.tensor(tokenizer.all_special_ids),
            vocabulary=min(len(tokenizer), encoder.config.vocab_size), mask_probability=self.mask_probability,
        )  # fmt: skip
        self.tokenizer = tokenizer

    # -- training ------------------------------------------------------------------------------------------------------

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """The weighted losses of a batch of texts."""
        texts = batch.tokens.ids, batch.tokens.mask, batch.tokens.buckets
        losses = {}
        if self.mlm_weight:
            losses["mlm"], _ = self.model.masked_language(*texts)
        if self.contrastive_weight:
            views = self.model.views(*texts)
            losses["contrastive"] = contrastive_loss(*views, batch.alike, temperature=self.temperature)
        loss = self._weighted(losses)
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return loss

    def _weighted(self, losses: dict[str, Tensor]) -> Tensor:
        weights = {"mlm": self.mlm_weight, "contrastive": self.contrastive_weight}
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Always with the same masks, and with the same dropout, which the contrastive loss is about."""
        torch.manual_seed((self.seed * 1_000_003 + batch_idx) * 1_009 + self.global_rank)
        texts, n = (batch.tokens.ids, batch.tokens.mask, batch.tokens.buckets), len(batch.alike)
        if self.mlm_weight:
            self.measured["mlm"].update(*self.model.masked_language(*texts))
        if self.contrastive_weight:
            self.model.train()
            views = self.model.views(*texts)
            self.model.eval()
            loss = contrastive_loss(*views, batch.alike, temperature=self.temperature)
            potential = Uniformity(1.0)(self.model.encoder.encode(*texts), {}).exp()  # a mean over pairs of texts
            self.measured["contrastive"].update(loss, n)
            self.measured["alignment"].update(alignment(*views), n)
            self.measured["potential"].update(potential, n * (n - 1))

    def on_validation_epoch_end(self) -> None:
        told = {name: metric.compute() for name, metric in self.measured.items()}  # over all processes
        if self.mlm_weight and not self.measured["mlm"].weight and told["mlm"].isnan():
            raise InputError(
                f"data.validation_share is {self.data.validation_share}: of the few texts held for validation no token "
                "was masked. Raise it, or model.mask_probability"
            )
        self.log("val/loss", self._weighted({name: told[name] for name in told.keys() & OBJECTIVES}), prog_bar=True)
        if self.mlm_weight:
            told["perplexity"] = told["mlm"].exp()
        if self.contrastive_weight:
            told["uniformity"] = told.pop("potential").log()
        self.log_dict({f"val/{name}": value for name, value in told.items()})
        for metric in self.measured.values():
            metric.reset()

    # -- optimizer and checkpoint --------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        config, encoder = self.optimizer_config, list(self.model.encoder.parameters())
        return configure(
            config,
            [
                ParameterGroup("encoder", config.encoder_lr, encoder),
                ParameterGroup("head", config.tower_lr, self.model.head_parameters()),
            ],
            n_steps=self.trainer.estimated_stepping_batches,
            fused=self.trainer.precision != "16-mixed",  # whose gradients are scaled until the step: not to be clipped
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        assert self.tokenizer is not None
        checkpoint["recall_lightning"] = {
            "encoder_config": model_config(self.model.encoder.model), "tokenizer": tokenizer_files(self.tokenizer)
        }  # fmt: skip

    @classmethod
    def restored(cls, checkpoint: dict[str, Any], source: str) -> Self:
        if not is_pretrained(checkpoint):
            raise InputError(f"{source}: not a checkpoint of `method: pretrain`. Give one that was trained with that")
        saved, parts = dict(checkpoint["hyper_parameters"]), checkpoint["recall_lightning"]
        encoder, optimizer = EncoderConfig(**saved.pop("encoder")), OptimizerConfig(**saved.pop("optimizer"))
        module = cls(encoder, optimizer=optimizer, **saved)
        model = model_from_config(parts["encoder_config"], masked_language=module.mlm_weight > 0)
        module.build(model, tokenizer_from_files(parts["tokenizer"]))
        fill(module, checkpoint, source)
        return module.eval()

    def save_encoder(self, folder: str | Path) -> None:
        """Write the encoder, without its head, as a folder for `model.encoder.path`; as of `save_model`.

        Args:
            folder: where to.
        """
        assert self.tokenizer is not None
        model = copy.deepcopy(self.model.encoder.model)
        merge_adapters(model)
        save_model(model, self.tokenizer, Path(folder))


def _without_dropout(why: str) -> str:
    return (
        f"{why}: the contrastive objective tells a text's two vectors by dropout, without which they are equal. Give "
        "model.encoder.dropout: 0.1, or model.contrastive_weight: 0"
    )
