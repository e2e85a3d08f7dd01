"""Words: how much each word of an item's text lifts the item's score."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from recall_lightning.retrieval.recommender import Recommender

_TEXTS_AT_ONCE = 256


class Words:
    """Weighs the words of items' texts by gradient times input.

    A word piece's weight is `x . ds/dx`, x its embedding and s the similarity of user and item (a prior,
    transitions and neighbours read no text), with the same of its vector in `models.words`, once a text; a word's
    is the sum over its pieces. Gradient times input (Denil et al., 2014; Shrikumar et al., 2016) is the first term
    of a Taylor series: it tells which words count, not the score without one.

    Args:
        recommender: whose scores are explained.
    """

    def __init__(self, recommender: "Recommender") -> None:
        self._of = recommender
        self._spelt: dict[int, tuple[list[int | None], list[str]]] = {}

    def __call__(self, users: Tensor, rows: Tensor) -> list[list[tuple[str, float]]]:
        """Weigh the words of an item each for a user each.

        Args:
            users: `(n, dim)` float.
            rows: `(n,)` int64 rows of the pool.

        Returns:
            For each pair the words, as written, and their weights, the largest absolute one first.
        """
        found: list[list[tuple[str, float]]] = []
        if not len(rows):
            return found
        for some, asked in zip(torch.split(users, _TEXTS_AT_ONCE), torch.split(rows, _TEXTS_AT_ONCE), strict=True):
            pieces = self._pieces(some, asked).cpu().numpy()
            found += [self._of_words(row, weights) for row, weights in zip(asked.tolist(), pieces, strict=True)]
        return found

    def _pieces(self, users: Tensor, rows: Tensor) -> Tensor:
        """`(n, tokens)` float."""
        module = self._of.module
        model = module.model
        batch = self._of.tokens.batch(rows.cpu().numpy())
        with torch.inference_mode(False), torch.enable_grad():  # copies, through which a gradient can go
            users, rows = users.clone(), rows.clone()
            ids, mask = batch.ids.to(rows.device), batch.mask.to(rows.device)
            pieces = model.encoder.model.get_input_embeddings()(ids).detach().requires_grad_()
            parts, words = [pieces], None
            if model.words is not None:
                parts.append(model.words.of_tokens(ids, mask).detach().requires_grad_())
                words = parts[1].sum(1)
            texts, known = model.encoder.of_embeddings(pieces, mask), model.known_rows(self._of.in_training(rows))
            items = model.item_tower(texts, known, words)
            gradients = torch.autograd.grad(module.loss.similarity.pairs(users, items).sum(), parts)
        weights: Tensor = sum((slope * part).sum(-1) for slope, part in zip(gradients, parts, strict=True))
        return weights.detach()

    def _of_words(self, row: int, weights: NDArray[np.float32]) -> list[tuple[str, float]]:
        word_of, words = self._spelling(row)
        first = len(self._of.tokens.frame.prefix)
        sums = np.zeros(len(words))
        for place, word in enumerate(word_of):
            if word is not None:
                sums[word] += weights[first + place]
        order = np.argsort(-np.abs(sums), kind="stable").tolist()
        return [(words[i], float(sums[i])) for i in order if any(c.isalnum() for c in words[i])]

    def _spelling(self, row: int) -> tuple[list[int | None], list[str]]:
        """The word of each piece of a text, and the words as written."""
        if row not in self._spelt:
            text, background = self._of.pool.texts[row], self._of.background
            room = max(background.max_text_tokens - self._of.tokens.frame.n_special, 1)
            read = background.tokenizer(text, add_special_tokens=False, truncation=True, max_length=room)
            word_of = read.word_ids()
            spans = [
                read.word_to_chars(word) for word in range(max((w for w in word_of if w is not None), default=-1) + 1)
            ]
            self._spelt[row] = word_of, [text[span.start : span.end].strip() for span in spans]
        return self._spelt[row]
