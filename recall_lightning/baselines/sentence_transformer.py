"""FineTunedSentenceTransformer: sentence-transformers' own fine-tuning on pairs of neighbours in histories."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from recall_lightning.baselines.encoder_profile import VectorProfile
from recall_lightning.baselines.libraries import library
from recall_lightning.baselines.text_vectors import encoder_digest
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.interactions import Interactions
from recall_lightning.data.ragged import Ints

Pair = tuple[int, int]


class FineTunedSentenceTransformer(VectorProfile):
    """What one gets from `sentence-transformers` by its manual: pairs of texts and `MultipleNegativesRankingLoss`.

    `loss_b = -log softmax_c(20 cos(u_b, v_c))[b]`, u_b being the vector of an item's text, v_b that of the item which
    the same user took next, and c the batch's pairs (Henderson et al., 2017). No text is twice in a batch, as their
    `NoDuplicatesBatchSampler` sees to. A user is then the mean of their newest items' vectors.

    In bfloat16 autocast, on the CPU.

    Args:
        encoder: folder of the encoder; its tokens' vectors are pooled by their mean.
        n_pairs: most pairs to train on, drawn from the training histories; each is seen once an epoch.
        epochs: passes over the pairs.
        batch_size: pairs a step.
        learning_rate: of AdamW, after a rise over the first tenth of the steps; it then falls to 0 in a line.
        seed: of the draw, the order and dropout.

    Settings:
        last: newest items of a history that make the profile; None for all.
    """

    name = "sentence-transformers"
    counts_interactions = False  # it takes too long to be trained for each cut of the histories

    def __init__(
        self, encoder: str, *, n_pairs: int = 6_400, epochs: int = 1, batch_size: int = 64,
        learning_rate: float = 2e-5, seed: int = 0, **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(**settings)
        self.encoder, self.n_pairs, self.epochs, self.batch_size = encoder, n_pairs, epochs, batch_size
        self.learning_rate, self.seed = learning_rate, seed

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "encoder": encoder_digest(self.encoder), "n_pairs": self.n_pairs, "epochs": self.epochs,
            "batch_size": self.batch_size, "learning_rate": self.learning_rate, "seed": self.seed,
        }  # fmt: skip

    def fit(self, train: Interactions, data: RecallDataModule) -> None:
        package, modules, losses = (
            library(f"sentence_transformers{part}", extra="sentence-transformers")
            for part in ("", ".sentence_transformer.modules", ".sentence_transformer.losses")
        )
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        texts = data.catalogue.texts
        reader = modules.Transformer(self.encoder, max_seq_length=data.max_text_tokens)
        pooling = modules.Pooling(reader.get_embedding_dimension(), "mean")
        model = package.SentenceTransformer(modules=[reader, pooling], device="cpu")
        loss = losses.MultipleNegativesRankingLoss(model)
        pairs = drawn_pairs(train, texts, self.n_pairs, rng)
        orders = [rng.permutation(pairs).tolist() for _ in range(self.epochs)]
        steps = [step for order in orders for step in batches(order, texts, self.batch_size)]
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=0.01)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, len(steps)))
        model.train()
        for step in steps:
            columns = [model.preprocess([texts[row] for row in rows]) for rows in zip(*step, strict=True)]
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                value = loss(columns, None)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
        model.eval()
        self.vectors = model.encode(
            texts, batch_size=256, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )


def drawn_pairs(train: Interactions, texts: list[str], n: int, rng: np.random.Generator) -> Ints:
    """Items that a user took one after the other, with different texts.

    Returns:
        `(pairs, 2)` int64 catalogue rows, at most n, drawn without replacement.
    """
    same_user = train.users[:-1] == train.users[1:]
    pairs = np.stack([train.items[:-1], train.items[1:]], 1)[same_user]
    kept = np.array([texts[a] != texts[b] for a, b in pairs.tolist()], bool)
    pairs = pairs[kept]
    return pairs[rng.choice(len(pairs), min(n, len(pairs)), replace=False)]


def batches(pairs: Iterable[Pair], texts: list[str], size: int) -> Iterator[list[Pair]]:
    """Batches in which no text stands twice; a pair that would repeat one waits for the next batch.

    A pair left alone has no negatives, and is left out.
    """
    fresh = iter(pairs)
    waiting: list[Pair] = []
    while True:
        batch: list[Pair] = []
        used: set[str] = set()
        deferred: list[Pair] = []
        before = iter(waiting)
        for pair in itertools.chain(before, fresh):
            named = {texts[pair[0]], texts[pair[1]]}
            if used.isdisjoint(named):
                batch.append(pair)
                used |= named
            else:
                deferred.append(pair)
            if len(batch) == size:
                break
        waiting = [*deferred, *before]
        if not batch:
            return
        if len(batch) > 1:
            yield batch


def _rate(step: int, n_steps: int) -> float:
    """The learning rate's share of its highest value."""
    rise = max(1, n_steps // 10)
    return (step + 1) / rise if step < rise else (n_steps - step) / max(1, n_steps - rise)
