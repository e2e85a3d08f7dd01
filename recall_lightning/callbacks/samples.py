"""RecommendationSamples: what a few users met, and what they would be offered."""

import re
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from recall_lightning.callbacks.tensorboard import writer_of
from recall_lightning.data.batches import EvalBatch
from recall_lightning.models.top_k import top_k
from recall_lightning.modules.recall import RecallModule


class RecommendationSamples(Callback):
    """Text pages of validation users: newest history, what they took next, and the top of the list, hits marked.

    They are those of the first batch: where users are told of by number of interactions, by the largest number.

    Args:
        users: how many users, always the same ones.
        k: items of the list.
        history: items of the history.
    """

    def __init__(self, users: int = 5, k: int = 10, history: int = 8) -> None:
        self.users, self.k, self.history = users, k, history

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: EvalBatch, batch_idx: int, *_: Any
    ) -> None:
        assert isinstance(module, RecallModule)
        writer = writer_of(trainer)
        if batch_idx or writer is None:
            return
        n = min(self.users, len(batch.users))
        users = module.user_vectors(batch)[:n]
        added = module.model.bonus(users, batch.history[:n])
        similarity, known = module.loss.similarity, batch.known[:n]
        top = top_k(users, module.item_vectors, similarity, k=self.k, added=added, known=known)[1].tolist()
        titles = [_escaped(title) for title in module.data.catalogue.titles]
        ids = module.data.interactions.user_ids
        for i in range(n):
            past = [row for row in batch.history[i].tolist() if row >= 0][::-1]
            hits = set(batch.targets[i].tolist())
            lines = [f"**History**, newest first ({len(past)} items)", ""]
            lines += [f"- {titles[row]}" for row in past[: self.history]]
            lines += ["", "**Took next**: " + ", ".join(titles[row] for row in sorted(hits) if row >= 0), ""]
            lines += [f"**Top {self.k}**", ""]
            lines += [
                f"{rank}. {'**✓ ' + titles[row] + '**' if row in hits else titles[row]}"
                for rank, row in enumerate(top[i], 1)
                if row >= 0
            ]
            writer.add_text(f"user {ids[int(batch.users[i])]}", "\n".join(lines), trainer.global_step)


def _escaped(title: str) -> str:
    """A title that Markdown shows as it is: `M*A*S*H`."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(title.split()))
