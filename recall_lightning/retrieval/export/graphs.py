"""Encoder and towers as ONNX graphs."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recall_lightning.meta.fast_weights import FastWeights
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.recall import RecallModule
from recall_lightning.retrieval.export.merged import merged_encoder
from recall_lightning.retrieval.export.onnx_file import write_graph
from recall_lightning.retrieval.export.ranking import items_to_rank, users_to_rank
from recall_lightning.retrieval.recommender import Recommender


class ItemGraph(nn.Module):
    """Tokens of texts to the vectors of items that training doesn't know."""

    def __init__(self, recommender: Recommender) -> None:
        super().__init__()
        module = recommender.module
        self.encoder, self.item_tower = merged_encoder(module.model.encoder), deepcopy(module.model.item_tower).cpu()
        self.words = None if module.model.words is None else deepcopy(module.model.words).cpu()
        self.similarity = module.loss.similarity

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode texts.

        Args:
            input_ids: `(texts, tokens)` int64.
            attention_mask: `(texts, tokens)` int64, 0 on the filling.

        Returns:
            `(texts, dim)` float, the model's own; `(texts, width)` float, to rank by.
        """
        mask = attention_mask > 0
        words = None if self.words is None else self.words.of_tokens(input_ids, mask).sum(1)
        items = self.item_tower.of_texts(self.encoder(input_ids, mask), words)
        return items, items_to_rank(self.similarity, items)


class UserGraph(nn.Module):
    """Histories of item vectors to user vectors, of a meta-trained model those before it adapts."""

    def __init__(self, module: RecallModule) -> None:
        super().__init__()
        self.fast_weights: FastWeights | None = None
        self.similarity = module.loss.similarity
        if isinstance(module, MAMLRecallModule):
            self.fast_weights, self.tower = deepcopy((module.fast_weights, module.model.user_tower))
        else:
            self.tower = deepcopy(module.model.user_tower)
        self.cpu()

    def forward(self, item_vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Describe users.

        Args:
            item_vectors: `(users, history, dim)` float, the newest item in the last column.
            mask: `(users, history)` bool, False at the left where there is no item.

        Returns:
            `(users, dim)` float, the model's own; `(users, width)` float, to rank by.
        """
        vectors = item_vectors * mask[..., None]
        if self.fast_weights is None:
            users = self.tower(vectors, mask)[:, -1]
        else:
            support = self.fast_weights.support(self.tower, vectors, mask, mask.long() - 1)
            users = self.fast_weights.adapted(*support.inputs)[:, -1]
        return users, users_to_rank(self.similarity, users)


def write_graphs(recommender: Recommender, folder: Path, tell: Callable[[str], None]) -> None:
    """Write `item_encoder.onnx` with its tokenizer, and `user_tower.onnx`; ONNX Runtime checks both against the model.

    A user tower that reads text has no graph of its own: it is the item encoder, on the joined texts of a history.

    Args:
        recommender: whose model is written.
        folder: an existing folder.
        tell: is told what was written.

    Raises:
        InputError: if a graph's numbers are not the model's.
    """
    module, dim = recommender.module, recommender.module.model.dim
    vocabulary = len(recommender.background.tokenizer)
    draw = np.random.default_rng(0)

    def texts(n: int, length: int) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(draw.integers(0, vocabulary, (n, length)))
        return ids, (torch.arange(length) < torch.tensor([[length], [1]]).repeat(n, 1)[:n]).long()

    def histories(n: int, length: int) -> tuple[Tensor, Tensor]:
        vectors = torch.from_numpy(draw.standard_normal((n, length, dim), np.float32))
        return vectors, torch.arange(length) >= torch.tensor([[0], [length - 1]]).repeat(n, 1)[:n]

    path = folder / "item_encoder.onnx"
    write_graph(ItemGraph(recommender), path, texts, ["input_ids", "attention_mask"], ["item_vector", "ranking_vector"])
    recommender.background.tokenizer.save_pretrained(folder)
    if module.model.user_tower.reads_text:
        tell("onnx: item_encoder.onnx alone: this model's user tower is the encoder, on the joined texts of a history")
        return
    path = folder / "user_tower.onnx"
    write_graph(UserGraph(module), path, histories, ["item_vectors", "mask"], ["user_vector", "ranking_vector"])
    tell("onnx: item_encoder.onnx and user_tower.onnx, checked by ONNX Runtime")
