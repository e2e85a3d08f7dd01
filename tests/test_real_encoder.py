"""The real all-MiniLM-L6-v2, fetched as a user would."""

import pytest
import torch

from recall_lightning.data.tokens import tokenize
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.pretrained import (
    load_model,
    load_tokenizer,
    model_config,
    model_from_config,
    tokenizer_files,
    tokenizer_from_files,
)

pytestmark = pytest.mark.network

TEXTS = [
    "Alien (1979). Horror, Sci-Fi",
    "Aliens (1986). Action, Sci-Fi, Thriller, War",
    "Sense and Sensibility",
    "M*A*S*H",
]


def plain(model, tokenizer, texts):
    """Each text by itself, without padding, buckets or the package's own token store."""
    with torch.no_grad():
        hidden = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in texts]
    return torch.stack([vectors.mean(0) for vectors in hidden])


def test_vectors_are_those_of_transformers_and_tell_near_from_far(minilm):
    model, tokenizer = load_model(minilm), load_tokenizer(minilm)
    expected = plain(model.eval(), tokenizer, TEXTS)
    tokens = tokenize(TEXTS, tokenizer, max_tokens=64)
    vectors = encode_texts(TextEncoder(model), tokens, torch.device("cpu"))
    torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-5)
    near, far = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:3])
    assert near > 0.6 > 0.3 > far


def test_a_checkpoint_carries_the_encoder_and_its_tokenizer_whole(minilm):
    model, tokenizer = load_model(minilm), load_tokenizer(minilm)
    again = model_from_config(model_config(model))
    again.load_state_dict(model.state_dict())
    same = tokenizer_from_files(tokenizer_files(tokenizer))
    assert same(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    torch.testing.assert_close(plain(again.eval(), same, TEXTS), plain(model.eval(), tokenizer, TEXTS))
