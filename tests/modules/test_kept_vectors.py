"""kept_vectors: what an encoder made of texts is taken from disk, and never for that of other texts or encoders."""

from dataclasses import replace

import pytest
import torch

from recall_lightning.data.tokens import tokenize
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.pretrained import load_model, load_tokenizer

TEXTS = ["heat", "alien", "the piano"]


@pytest.fixture
def encoder(tiny_encoder):
    return TextEncoder(load_model(str(tiny_encoder)))


@pytest.fixture
def tokens(tiny_encoder):
    return tokenize(TEXTS, load_tokenizer(str(tiny_encoder)), max_tokens=16)


def never():
    raise AssertionError("encoded again")


def test_a_second_time_nothing_is_encoded(encoder, tokens, tmp_path):
    digest = weights_digest(encoder)
    first = kept_vectors(lambda: encoder, digest, tokens, tmp_path)
    assert first.equal(encode_texts(encoder, tokens, torch.device("cpu")))
    assert kept_vectors(never, digest, tokens, tmp_path).equal(first)


def test_other_texts_and_other_special_tokens_are_encoded(encoder, tokens, tiny_encoder, tmp_path):
    digest = weights_digest(encoder)
    kept_vectors(lambda: encoder, digest, tokens, tmp_path)
    others = tokenize([*TEXTS[:2], "fargo"], load_tokenizer(str(tiny_encoder)), max_tokens=16)
    framed = replace(tokens, frame=replace(tokens.frame, suffix=tokens.frame.prefix))
    for changed in (others, framed):
        with pytest.raises(AssertionError, match="encoded again"):
            kept_vectors(never, digest, changed, tmp_path)


def test_an_encoder_of_other_weights_or_pooling_has_another_digest(encoder, tiny_encoder):
    digest = weights_digest(encoder)
    assert weights_digest(TextEncoder(load_model(str(tiny_encoder)))) == digest
    assert weights_digest(TextEncoder(load_model(str(tiny_encoder)), pooling="cls")) != digest
    with torch.no_grad():
        next(encoder.parameters())[0, 0] += 1e-3
    assert weights_digest(encoder) != digest
