"""Packed texts: without filling, and yet the vectors and gradients of reading each text alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_encoder import DIM, FAMILY, encoder, texts
from torch.nn import functional as F

from recall_lightning.errors import InputError
from recall_lightning.models import packed as module
from recall_lightning.models.packed import PACKED, packing, pooled, unpacked
from recall_lightning.modules.encoder_config import EncoderConfig

PACKABLE = ["bert", "roberta", "distilbert", "electra"]
packable = pytest.mark.parametrize("family", PACKABLE)
LENGTHS = [5, 3, 9, 3, 0, 1, 5]


def packing_encoder(family="bert", **arguments):
    """The very encoder of `encoder`, but for its attention."""
    made = encoder(family, **arguments)
    made.model.set_attn_implementation(PACKED)
    return made


def slow_attention(query, key, value, scaling, runs):
    """Text by text and head by head."""
    mixed, start = [], 0
    for length in [length for n, length in runs for _ in range(n)]:
        q, k, v = (part[start : start + length].transpose(0, 1) for part in (query, key, value))
        mixed.append((torch.softmax(q @ k.transpose(1, 2) * scaling, -1) @ v).transpose(0, 1))
        start += length
    return torch.cat(mixed)


@given(st.lists(st.integers(0, 6), max_size=12), st.integers(0, 3))
def test_a_packing_names_every_token_once_text_after_text_by_length(lengths, more):
    width = max(lengths, default=0) + more
    mask = torch.arange(width) < torch.tensor(lengths, dtype=torch.int64)[:, None]
    made = packing(mask)
    order = sorted(range(len(lengths)), key=lambda text: lengths[text])
    assert made.texts.tolist() == order
    assert made.tokens.tolist() == [text * width + t for text in order for t in range(lengths[text])]
    assert made.positions.tolist() == [t for text in order for t in range(lengths[text])]
    assert [length for n, length in made.runs for _ in range(n)] == sorted(lengths)
    hidden = torch.rand(len(made.tokens), 2)
    whole = unpacked(hidden, made, mask.shape)
    assert whole.flatten(0, 1)[made.tokens].equal(hidden)
    assert (whole[~mask] == 0).all()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.sampled_from([1.0, 30.0]))
def test_attention_and_its_gradient_agree_with_each_text_by_itself(lengths, size):
    made = packing(torch.arange(6) < torch.tensor(lengths)[:, None])
    torch.manual_seed(0)
    parts = [(torch.randn(sum(lengths), 2, 4, dtype=torch.float64) * size).requires_grad_() for _ in range(3)]
    weights = torch.randn(sum(lengths), 2, 4, dtype=torch.float64)
    found = [
        (mixed, *torch.autograd.grad((mixed * weights).sum(), parts))
        for mixed in (slow_attention(*parts, 0.5, made.runs), module._Attention.apply(*parts, 0.5, 0.0, made.runs))
    ]
    for slow, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow)


def test_attentions_dropout_is_the_one_that_its_gradient_knows():
    runs = ((3, 4), (2, 5))
    parts = [torch.randn(22, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def drawn(*parts):
        torch.manual_seed(7)
        return module._Attention.apply(*parts, 0.5, 0.4, runs)

    assert not drawn(*parts).equal(module._Attention.apply(*parts, 0.5, 0.0, runs))
    torch.autograd.gradcheck(drawn, parts)


def test_so_many_shares_are_dropped_and_the_others_raised_that_the_mean_stays():
    runs = ((2000, 4),)
    query, key, value = torch.zeros(8000, 1, 1), torch.zeros(8000, 1, 1), torch.ones(8000, 1, 1)
    mixed = module._Attention.apply(query, key, value, 1.0, 0.25, runs)
    assert float(mixed.mean()) == pytest.approx(1.0, abs=0.01)  # of 32,000 draws
    assert sorted(set((mixed * 3).round().int().flatten().tolist())) == [0, 1, 2, 3, 4]  # of 4 shares, each a third


@packable
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_each_text_alone(family, pooling):
    plain, part = (make(family, pooling=pooling).eval() for make in (encoder, packing_encoder))
    ids, mask = texts(*LENGTHS, width=12)
    alone = [
        plain(ids[row : row + 1, :length], mask[row : row + 1, :length])[0] if length else torch.zeros(DIM)
        for row, length in enumerate(LENGTHS)
    ]
    for vectors in (part(ids, mask), part.encode(ids, mask, ())):
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors, torch.stack(alone), atol=1e-5, rtol=1e-4)


@packable
@pytest.mark.parametrize("frozen_layers", [0, 2])
def test_gradients_are_those_of_padded_texts(family, frozen_layers):
    ids, mask = texts(*LENGTHS[:4])
    found = []
    for make in (encoder, packing_encoder):
        part = make(family, frozen_layers=frozen_layers).eval()
        part.encode(ids, mask, ((0, 4, 9),)).pow(3).sum().backward()
        found.append({name: p.grad for name, p in part.named_parameters() if p.grad is not None})
    plain, packed = found
    assert plain.keys() == packed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(packed[name], gradient, atol=1e-3, rtol=1e-3)


@packable
def test_tokens_hidden_vectors_are_those_of_padded_texts(family):
    ids, mask = texts(2, 5, 5)
    chosen = mask & (torch.rand(mask.shape) < 0.5)
    plain, part = encoder(family).eval(), packing_encoder(family).eval()
    expected = plain.hidden_at(ids, mask, ((0, 3, 5),), chosen)
    torch.testing.assert_close(
        part.hidden_at(ids, mask, ((0, 1, 2), (1, 3, 5)), chosen), expected, atol=1e-5, rtol=1e-4
    )


def test_under_bfloat16_a_vector_is_as_near_to_the_exact_one_as_a_padded_texts():
    ids, mask = texts(3, 7, 5, 5)
    exact = encoder().eval()(ids, mask).detach()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        padded, packed = encoder().eval()(ids, mask), packing_encoder().eval()(ids, mask)
    assert packed.dtype == torch.float32
    assert float((packed - exact).abs().mean()) < 1.5 * float((padded - exact).abs().mean())


@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_texts_that_are_encoded_again_for_the_gradient_get_the_same_one(at_once):
    ids, mask = texts(3, 4, 4, 6, 7)
    found = []
    for texts_at_once in (None, at_once):
        part = packing_encoder(texts_at_once=texts_at_once, dropout=0.0).train()
        part.encode(ids, mask, ()).sin().sum().backward()
        found.append({name: p.grad for name, p in part.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-3)


def test_no_token_of_the_filling_is_read():
    """The layers are given as many tokens as there are."""
    part, seen = packing_encoder(), []
    part.model.encoder.layer[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    part.encode(*texts(2, 5, 9), ())
    assert seen == [(1, 16, DIM)]


def test_no_texts_give_no_vectors():
    ids, mask = texts()
    assert packing_encoder().encode(ids, mask, ()).shape == (0, DIM)


def test_pooling_is_by_the_mean_or_the_first_token():
    made = packing(torch.tensor([[True, True], [False, False], [True, False]]))
    hidden = torch.tensor([[5.0], [1.0], [3.0]])  # the text of one token first
    assert pooled(hidden, made, first=False).tolist() == [[2.0], [0.0], [5.0]]
    assert pooled(hidden, made, first=True).tolist() == [[1.0], [0.0], [5.0]]


def test_an_encoder_of_another_kind_is_told_with_the_cure():
    with pytest.raises(InputError, match=r"attention is packed.*not for modernbert: give sdpa or eager"):
        EncoderConfig("folder", attention="packed").text_encoder(FAMILY["modernbert"]())


def test_the_config_packs_what_it_loads(tiny_encoder):
    from recall_lightning.pretrained import load_model

    made = EncoderConfig(str(tiny_encoder), attention="packed").text_encoder(
        load_model(str(tiny_encoder), attention="packed")
    )
    assert made.packs
    assert F.mse_loss(made(*texts(3, 4)), made(*texts(3, 4))).isfinite()
