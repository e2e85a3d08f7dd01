"""The objectives' forward passes against the whole model, text by text."""

import itertools

import pytest
import torch
from transformers import AutoModelForMaskedLM, BertConfig

from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.masked_language import MaskedLanguageHead, mask_tokens
from recall_lightning.models.pretraining import PretrainingModel

PAD, CLS, SEP, MASK, VOCABULARY = 0, 2, 3, 4, 50
SPECIAL = torch.tensor([PAD, 1, CLS, SEP, MASK])
LENGTHS = [3, 4, 4, 7, 9]
BUCKETS = ((0, 2, 4), (2, 5, 9))
CONFIG = {
    "vocab_size": VOCABULARY, "pad_token_id": PAD, "max_position_embeddings": 40, "hidden_size": 8,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "initializer_range": 0.5,
}  # fmt: skip


def whole():
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(BertConfig(**CONFIG))


def split(model, probability=0.5):
    encoder = model.base_model
    return PretrainingModel(
        TextEncoder(encoder), MaskedLanguageHead(model), mask_id=MASK, special=SPECIAL, vocabulary=VOCABULARY,
        mask_probability=probability,
    )  # fmt: skip


@pytest.fixture
def texts():
    """`[CLS] words [SEP]`, by length, with an unknown word (1) in the longest."""
    torch.manual_seed(1)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(5, VOCABULARY, mask.shape).masked_fill(~mask, PAD)
    ids[:, 0], ids[-1, 4] = CLS, 1
    ids[torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1] = SEP
    return ids, mask


def slow_loss(model, ids, read, chosen):
    """The mean over chosen tokens of -log p, each text by itself through the whole model."""
    losses = []
    for text, length in enumerate(LENGTHS):
        logits = model(input_ids=read[text : text + 1, :length]).logits[0].detach()
        told = [at for at in range(length) if chosen[text, at]]
        losses += [-float(logits[at].log_softmax(0)[ids[text, at]]) for at in told]
    return sum(losses) / len(losses), len(losses)


@pytest.mark.parametrize("seed", range(3))
def test_the_masked_language_loss_agrees_with_the_whole_model_counted_token_by_token(texts, seed):
    ids, mask = texts
    model, intact = split(whole()).eval(), whole().eval()
    torch.manual_seed(seed)
    read, chosen = mask_tokens(
        ids, mask & ~torch.isin(ids, SPECIAL), probability=0.5, mask_id=MASK, words=torch.arange(5, VOCABULARY)
    )
    torch.manual_seed(seed)
    loss, n = model.masked_language(ids, mask, BUCKETS)
    assert (float(loss.detach()), n) == pytest.approx(slow_loss(intact, ids, read, chosen), rel=1e-4)


def test_special_tokens_are_never_asked_for_nor_drawn(texts):
    ids, mask = texts
    model = split(whole(), probability=1 - 1e-9)
    assert model.words.tolist() == list(range(5, VOCABULARY))
    _, n = model.masked_language(ids, mask, BUCKETS)
    assert n == sum(LENGTHS) - 2 * len(LENGTHS) - 1


def test_a_batch_without_a_masked_token_has_no_loss(texts):
    ids, mask = texts
    loss, n = split(whole(), probability=1e-9).masked_language(ids, mask, BUCKETS)
    loss.backward()
    assert (float(loss.detach()), n) == (0, 0)


def test_two_views_differ_by_dropout_alone(texts):
    ids, mask = texts
    model = split(whole())
    one, other = model.train().views(ids, mask, BUCKETS)
    assert one.shape == other.shape == (len(LENGTHS), 8)
    assert all(not u.allclose(v) for u, v in zip(one, other, strict=True))
    for view in model.eval().views(ids, mask, BUCKETS):
        torch.testing.assert_close(view, model.encoder(ids, mask), atol=1e-5, rtol=1e-5)


def test_the_heads_own_weights_are_those_that_the_encoder_does_not_hold():
    model = split(whole())
    own, encoder = (set(map(id, ps)) for ps in (model.head_parameters(), model.encoder.parameters()))
    assert not own & encoder
    assert own | encoder == set(map(id, model.parameters()))
    assert sum(p.numel() for p in model.head_parameters()) == 8 * 8 + 8 + 2 * 8 + VOCABULARY


def test_a_head_is_not_needed_for_views_alone(texts):
    model = PretrainingModel(
        TextEncoder(whole().base_model), None, mask_id=MASK, special=SPECIAL, vocabulary=VOCABULARY,
        mask_probability=0.1,
    )  # fmt: skip
    assert model.head_parameters() == []
    assert len(list(itertools.chain(*model.views(*texts, BUCKETS)))) == 2 * len(LENGTHS)
