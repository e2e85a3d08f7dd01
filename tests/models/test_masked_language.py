"""Masking as BERT does it, and transformers' heads without the encoders under them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
)

from recall_lightning.models.masked_language import MaskedLanguageHead, mask_tokens

PAD, MASK, VOCABULARY = 1, 4, 50
WORDS = torch.arange(5, VOCABULARY)


def masked(ids, maskable, seed=0, probability=0.15):
    torch.manual_seed(seed)
    return mask_tokens(ids, maskable, probability=probability, mask_id=MASK, words=WORDS)


# -- masking -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 99), st.integers(0, 4), st.integers(0, 9), st.sampled_from([0.01, 0.15, 0.99]))
def test_only_what_may_be_is_chosen_and_only_the_chosen_change(seed, n_texts, n_tokens, probability):
    torch.manual_seed(seed)
    ids = torch.randint(0, VOCABULARY, (n_texts, n_tokens))
    maskable = torch.rand(ids.shape) < 0.7
    read, chosen = masked(ids, maskable, seed, probability)
    assert not (chosen & ~maskable).any()
    assert not ((read != ids) & ~chosen).any()
    others = read[chosen & (read != ids) & (read != MASK)]
    assert torch.isin(others, WORDS).all()


def test_of_every_hundred_tokens_fifteen_are_chosen_and_of_those_eight_in_ten_masked_and_one_replaced():
    ids = torch.full((1000, 300), 7)
    read, chosen = masked(ids, torch.ones_like(ids, dtype=torch.bool))
    n, told = ids.numel(), int(chosen.sum())
    assert told / n == pytest.approx(0.15, abs=0.003)
    assert int((read == MASK).sum()) / told == pytest.approx(0.8, abs=0.01)
    assert int(((read != MASK) & (read != 7)).sum()) / told == pytest.approx(0.1 * (1 - 1 / len(WORDS)), abs=0.005)
    drawn = torch.bincount(read[(read != MASK) & (read != 7)], minlength=VOCABULARY)
    assert (drawn[WORDS[WORDS != 7]] > 0).all()  # any word may stand there


def test_each_seed_has_its_own_masks_and_always_the_same_ones():
    ids = torch.full((8, 40), 7)
    maskable = torch.ones_like(ids, dtype=torch.bool)
    for first, again in zip(masked(ids, maskable), masked(ids, maskable), strict=True):
        assert first.equal(again)
    assert not masked(ids, maskable)[1].equal(masked(ids, maskable, seed=1)[1])


# -- the head ----------------------------------------------------------------------------------------------------------

SIZE = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "max_position_embeddings": 40}
BERT = SIZE | {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
FAMILY = {
    "bert": BertConfig(**BERT),
    "roberta": RobertaConfig(**BERT),
    "distilbert": DistilBertConfig(**SIZE, dim=8, n_layers=2, n_heads=2, hidden_dim=16),
    "electra": ElectraConfig(**BERT, embedding_size=4),  # narrower embeddings than vectors
    "albert": AlbertConfig(**BERT, embedding_size=4),
    "mpnet": MPNetConfig(**BERT),
    "deberta-v2": DebertaV2Config(**BERT),
    "modernbert": ModernBertConfig(**BERT, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3),
}


@pytest.mark.parametrize("family", FAMILY)
def test_it_tells_of_chosen_tokens_what_the_whole_model_tells_of_all(family):
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(FAMILY[family]).eval()
    ids = torch.randint(5, VOCABULARY, (3, 6))
    whole = model(input_ids=ids).logits
    encoder = model.base_model
    embeddings = encoder.get_input_embeddings()
    head = MaskedLanguageHead(model)
    chosen = torch.rand(ids.shape) < 0.5
    logits = head(encoder(input_ids=ids).last_hidden_state[chosen])
    torch.testing.assert_close(logits, whole[chosen], atol=1e-5, rtol=1e-5)
    assert head(torch.empty(0, 8)).shape == (0, VOCABULARY)
    assert any(p is embeddings.weight for p in head.parameters())  # the vocabulary's matrix is tied
    assert not any(part is encoder for part in head.modules())
