"""What a checkpoint carries beside the weights, so that it can be used anywhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.popularity import popularity_by_place
from recall_lightning.data.successors import neighbours, successors
from recall_lightning.data.tokens import Tokens, tokenize
from recall_lightning.errors import InputError
from recall_lightning.models.transitions import BESIDE, MOST, MOST_BESIDE, WINDOW
from recall_lightning.models.words import Spelling
from recall_lightning.modules.spelling import spelling_of
from recall_lightning.pretrained import model_config, model_from_config, tokenizer_files, tokenizer_from_files


@dataclass(frozen=True)
class Background:
    """What a trained model was trained with, and needs again to be used.

    Attributes:
        catalogue: the training's items.
        counts: `(items,)` int64, training interactions of each.
        tokenizer: the encoder's.
        max_text_tokens: where items' texts are cut.
        max_history: items of a history that the user tower sees.
        history_tokens: where the joined texts of a history are cut, None if the user tower doesn't read text.
        popularity: `(items + 1, windows)` float of `popularity_by_place`, None for a model without a prior.
        successors: `(items, width)` int64 and float of `successors`, None for a model without transitions.
        neighbours: the same of `neighbours`.
        tokens: of the catalogue's texts, where they are at hand; no checkpoint carries them.
    """

    catalogue: Catalogue
    counts: Tensor
    tokenizer: PreTrainedTokenizerBase
    max_text_tokens: int
    max_history: int
    history_tokens: int | None
    popularity: Tensor | None = None
    successors: tuple[Tensor, Tensor] | None = None
    neighbours: tuple[Tensor, Tensor] | None = None
    tokens: Tokens | None = None

    @classmethod
    def of(
        cls, data: RecallDataModule, *, prior: bool = False, transitions: bool = False, beside: bool = False
    ) -> Self:
        """What a model that is trained on `data`, already set up, will need again.

        Args:
            data: the data module.
            prior: whether the model has a prior.
            transitions: whether it has transitions.
            beside: whether it has neighbours.
        """
        assert data.tokenizer is not None
        counts = torch.from_numpy(data.counts)
        popularity = torch.from_numpy(popularity_by_place(data.split.train, len(data.catalogue))) if prior else None
        return cls(
            data.catalogue, counts, data.tokenizer, data.max_text_tokens, data.max_history, data.history_tokens,
            popularity, _successors(data) if transitions else None, _neighbours(data) if beside else None, data.tokens,
        )  # fmt: skip

    def spelling(self) -> Spelling:
        """Of the catalogue's texts."""
        tokens = self.tokens
        if tokens is None:
            tokens = tokenize(self.catalogue.texts, self.tokenizer, max_tokens=self.max_text_tokens)
        return spelling_of(tokens)

    def check(self, data: RecallDataModule, name: str, *, held_out: bool = True) -> None:
        """Refuse data that the model can't be judged by.

        Args:
            data: already set up.
            name: of the model, for messages.
            held_out: whether it is asked about what the data's split holds out.

        Raises:
            InputError: if the catalogue is another, or the training part, so that it may have seen what it is asked.
        """
        if self.catalogue.ids != data.catalogue.ids:
            raise InputError(
                f"{name}: trained on another catalogue ({len(self.catalogue)} items) than the config's "
                f"({len(data.catalogue)}). Evaluate on the data it was trained with, or use `recommend --items`"
            )
        if held_out and self.counts.tolist() != data.counts.tolist():
            raise InputError(
                f"{name}: trained on another training part than the config's split gives, so it may have seen what it "
                "would be asked. Evaluate with the config that it was trained with, data.seed and all"
            )


def _successors(data: RecallDataModule) -> tuple[Tensor, Tensor]:
    after, share = successors(data.split.train, len(data.catalogue), window=WINDOW, most=MOST)
    return torch.from_numpy(after), torch.from_numpy(share)


def _neighbours(data: RecallDataModule) -> tuple[Tensor, Tensor]:
    near, share = neighbours(data.split.train, len(data.catalogue), window=BESIDE, most=MOST_BESIDE)
    return torch.from_numpy(near), torch.from_numpy(share)


def carried(model: PreTrainedModel, background: Background) -> dict[str, Any]:
    """The part `recall_lightning` of a checkpoint: plain types and tensors alone, which load with `weights_only`."""
    items = background.catalogue
    return {
        "encoder_config": model_config(model),
        "tokenizer": tokenizer_files(background.tokenizer),
        "catalogue": {"ids": items.ids, "texts": items.texts, "titles": items.titles, "template": items.template},
        "counts": background.counts,
        "max_text_tokens": background.max_text_tokens,
        "max_history": background.max_history,
        "history_tokens": background.history_tokens,
        "popularity": background.popularity,
        "successors": background.successors,
        "neighbours": background.neighbours,
    }


def restored(parts: dict[str, Any]) -> tuple[PreTrainedModel, Background]:
    """The inverse of `carried`; the encoder's weights are still to be filled in."""
    background = Background(
        Catalogue(**parts["catalogue"]),
        parts["counts"],
        tokenizer_from_files(parts["tokenizer"]),
        parts["max_text_tokens"],
        parts["max_history"],
        parts["history_tokens"],
        parts.get("popularity"),  # older checkpoints have none
        parts.get("successors"),
        parts.get("neighbours"),
    )
    return model_from_config(parts["encoder_config"]), background


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of this package.

    Raises:
        InputError: if the file is missing, cut short, unsafe to load, or of another program.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint. `fit` prints where it keeps its best one")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a broken file raises RuntimeError, EOFError, UnpicklingError, OSError and more
        raise InputError(
            f"{path}: no readable checkpoint ({type(error).__name__}): it is cut short, broken or not a checkpoint. "
            "Copy it again, or train again"
        ) from error
    if not isinstance(checkpoint, dict) or "recall_lightning" not in checkpoint:
        raise InputError(f"{path}: not a checkpoint of recall-lightning. Give one that `recall-lightning fit` wrote")
    return checkpoint


def fill(module: nn.Module, checkpoint: dict[str, Any], source: str) -> None:
    """Put a checkpoint's weights into a module that was built by its settings.

    Raises:
        InputError: if they don't fit.
    """
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise InputError(
            f"{source}: its weights are not those of its settings, so it is of another version of the package. Use "
            f"that version, or train again. {str(error).splitlines()[-1].strip()}"
        ) from error


def is_pretrained(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint, already read, is of a `PretrainModule`: an encoder alone."""
    return "mask_probability" in checkpoint["hyper_parameters"]


def refuse_pretrained(checkpoint: dict[str, Any], source: str) -> None:
    """Refuse a checkpoint that can't rank items yet.

    Raises:
        InputError: if it is of a `PretrainModule`.
    """
    if is_pretrained(checkpoint):
        raise InputError(
            f"{source}: a pretrained encoder (method: pretrain), which can't rank items yet. Fine-tune it by `fit "
            f"--config FILE.yaml --model.encoder.path {encoder_folder(source)}`, and give that run's checkpoint"
        )


def encoder_folder(checkpoint: str | Path) -> Path:
    """Where `fit` keeps the encoder of a `PretrainModule`'s best checkpoint: beside it."""
    return Path(checkpoint).parent / "encoder"
