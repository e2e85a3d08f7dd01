"""kept_vectors: what an encoder made of texts is taken from disk, and never for that of other texts or encoders."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from forked import Forked

from recall_lightning.data.tokens import tokenize
from recall_lightning.errors import InputError
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules import encoding
from recall_lightning.modules import kept_vectors as keeping
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.kept_vectors import kept_vectors, weights_digest
from recall_lightning.pretrained import load_model, load_tokenizer

CPU = torch.device("cpu")
TEXTS = ["heat", "alien", "the piano"]


@pytest.fixture
def encoder(tiny_encoder):
    return TextEncoder(load_model(str(tiny_encoder)))


@pytest.fixture
def tokens_of(tiny_encoder):
    tokenizer = load_tokenizer(str(tiny_encoder))
    return lambda texts: tokenize(texts, tokenizer, max_tokens=16)


@pytest.fixture
def tokens(tokens_of):
    return tokens_of(TEXTS)


class Counting:
    """An encoder that counts the texts it encodes, as `kept_vectors` wants one made."""

    def __init__(self, encoder):
        self.encoder, self.dim, self.texts = encoder.eval(), encoder.dim, 0

    def __call__(self, ids, mask=None):
        self.texts += len(ids)
        return self.encoder(ids, mask)


def never():
    raise AssertionError("encoded again")


def test_a_second_time_nothing_is_encoded(encoder, tokens, tmp_path):
    digest = weights_digest(encoder)
    first = kept_vectors(lambda: encoder, digest, tokens, tmp_path)
    assert first.equal(encode_texts(encoder, tokens, CPU))
    assert kept_vectors(never, digest, tokens, tmp_path).equal(first)


def test_what_is_kept_of_a_catalogue_serves_any_part_of_it_in_any_order(encoder, tokens, tokens_of, tmp_path):
    first = kept_vectors(lambda: encoder, "one", tokens, tmp_path)
    part = kept_vectors(never, "one", tokens_of([TEXTS[2], TEXTS[0], TEXTS[2]]), tmp_path)
    assert part.equal(first[[2, 0, 2]])
    assert kept_vectors(lambda: encoder, "one", tokens_of([]), tmp_path).shape == (0, encoder.dim)


def test_one_changed_text_costs_one_encoded_text_and_equal_texts_are_encoded_once(encoder, tokens_of, tmp_path):
    counting = Counting(encoder)
    texts = [*TEXTS, "heat", "fargo"]
    kept_vectors(lambda: counting, "one", tokens_of(texts), tmp_path)
    assert counting.texts == 4
    texts[1] = "aliens"
    changed = kept_vectors(lambda: counting, "one", tokens_of(texts), tmp_path)
    assert counting.texts == 5
    torch.testing.assert_close(changed, encode_texts(encoder, tokens_of(texts), CPU), atol=1e-6, rtol=0)


def test_other_special_tokens_and_other_encoders_are_encoded(encoder, tokens, tmp_path):
    kept_vectors(lambda: encoder, "one", tokens, tmp_path)
    framed = replace(tokens, frame=replace(tokens.frame, suffix=tokens.frame.prefix))
    for digest, changed in [("one", framed), ("other", tokens)]:
        with pytest.raises(AssertionError, match="encoded again"):
            kept_vectors(never, digest, changed, tmp_path)


def test_an_encoder_of_other_weights_or_pooling_has_another_digest(encoder, tiny_encoder):
    digest = weights_digest(encoder)
    assert weights_digest(TextEncoder(load_model(str(tiny_encoder)))) == digest
    assert weights_digest(TextEncoder(load_model(str(tiny_encoder)), pooling="cls")) != digest
    with torch.no_grad():
        next(encoder.parameters())[0, 0] += 1e-3
    assert weights_digest(encoder) != digest


def killed_in_its_third_batch(folder, encoder, texts):
    encoding.TOKENS_AT_ONCE["cpu"] = keeping.TOKENS_A_SHARD = 16  # two or three texts
    tokens = tokenize(texts, load_tokenizer(encoder), max_tokens=16)
    model = TextEncoder(load_model(encoder)).eval()

    class Dying:
        dim, batches = model.dim, 0

        def __call__(self, ids, mask=None):
            Dying.batches += 1
            if Dying.batches == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return model(ids, mask)

    kept_vectors(Dying, "one", tokens, folder)


def test_a_killed_run_goes_on_where_it_was(encoder, tokens_of, tiny_encoder, tmp_path):
    texts = [a + b + c for a in "abc" for b in "def" for c in "gh"]  # 18, all of 5 tokens: three a batch
    begun = Forked(killed_in_its_third_batch, tmp_path, str(tiny_encoder), texts)
    assert begun.wait(timeout=120) == -signal.SIGKILL, begun.stderr(timeout=60)
    counting = Counting(encoder)
    vectors = kept_vectors(lambda: counting, "one", tokens_of(texts), tmp_path)
    assert counting.texts == 18 - 2 * 3
    torch.testing.assert_close(vectors, encode_texts(encoder, tokens_of(texts), CPU), atol=1e-6, rtol=0)
    assert kept_vectors(never, "one", tokens_of(texts), tmp_path).equal(vectors)


def test_a_shard_that_can_t_be_read_is_named_with_the_cure(encoder, tokens, tmp_path):
    kept_vectors(lambda: encoder, "one", tokens, tmp_path)
    (shard,) = tmp_path.glob("vectors-*/*.npz")
    for broken in (b"", shard.read_bytes()[:200]):
        shard.write_bytes(broken)
        with pytest.raises(InputError, match=rf"{shard.name}: kept vectors that can't be read .*Delete the file"):
            kept_vectors(never, "one", tokens, tmp_path)
