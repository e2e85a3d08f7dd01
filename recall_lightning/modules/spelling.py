"""What the words of texts say, looked up by their tokens."""

import numpy as np
import torch
from torch import Tensor

from recall_lightning.data.tokens import Tokens
from recall_lightning.models.recall_model import RecallModel
from recall_lightning.models.words import Spelling


def spelling_of(tokens: Tokens) -> Spelling:
    """Which pieces of words texts have; a token of the frame that a text spells out is none."""
    frame, n_texts, pieces = tokens.frame, len(tokens.offsets) - 1, tokens.values.astype(np.int64)
    texts = np.repeat(np.arange(n_texts), np.diff(tokens.offsets))
    plain = ~np.isin(pieces, [*frame.prefix, *frame.suffix, frame.pad_id])
    n_pieces = int(pieces.max(initial=0)) + 1
    different = np.unique(texts[plain] * n_pieces + pieces[plain])
    return Spelling(torch.from_numpy(different // n_pieces), torch.from_numpy(different % n_pieces), n_texts)


def words_of(model: RecallModel, tokens: Tokens) -> Tensor | None:
    """`(texts, dim)` float: what the words of any texts say, for the model's item tower; None of a model without."""
    return None if model.words is None else model.words.of_bags(model.words.bags(spelling_of(tokens)))
