"""Checkpoints to export, and a text encoder's answers to compare with: used by several tests of exports."""

import lightning as L
import torch

from recall_lightning import (
    Cosine,
    ItemTower,
    RecallDataModule,
    RecallLoss,
    RecallModule,
    Recommender,
    Tabular,
    TransformerTower,
)
from recall_lightning.data.tokens import tokenize
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.spelling import words_of
from recall_lightning.retrieval.export.folder import export

TEXTS = ["Alien (1979). Horror, Sci-Fi", "heat", "", "a text of far more letters than the tower reads " * 5]


def trained(folder, encoder, tower=None, *, similarity=None, item_tower=None, data=None, encoder_settings=None, **more):
    """The checkpoint of a model that saw the typed tables once, its weights stirred, so that no part does nothing."""
    torch.manual_seed(0)
    module = RecallModule(
        EncoderConfig(str(encoder), **(encoder_settings or {})), tower or TransformerTower(1, 2),
        item_tower or ItemTower(residual=True), RecallLoss(similarity=similarity or Cosine()), **more,
    )  # fmt: skip
    source = Tabular(str(folder / "interactions.csv"), str(folder / "items.csv"))
    run = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
    )  # fmt: skip
    settings = {"max_history": 3, "max_text_tokens": 40} | (data or {})
    run.fit(module, RecallDataModule(source, "{title} ({year}). {genres}", str(encoder), **settings))
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "encoder" not in name or "lora" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    run.save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


def exported(checkpoint, folder, *formats, **settings):
    """The recommender of a checkpoint, and the lines that its export told."""
    recommender, told = Recommender.from_checkpoint(checkpoint, device="cpu"), []
    export(recommender, formats, folder, told.append, **settings)
    return recommender, told


@torch.no_grad()
def vectors_of(recommender, texts):
    """`(texts, dim)`: what the model takes items of such texts for, of which training knows nothing."""
    model, background = recommender.module.model, recommender.background
    tokens = tokenize(texts, background.tokenizer, max_tokens=background.max_text_tokens)
    vectors = encode_texts(model.encoder, tokens, torch.device("cpu"))
    return model.item_tower(vectors, torch.full((len(texts),), -1), words_of(model, tokens))


@torch.no_grad()
def users_of(recommender, *histories):
    """`(users, dim)`: the users who met these items, the newest last."""
    rows = [[recommender.pool.row(item) for item in history] for history in histories]
    return recommender.user_vectors(torch.tensor(rows))
