import itertools

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from recall_lightning.errors import InputError
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoder_config import EncoderConfig

PAD, CLS, VOCABULARY, DIM, LAYERS = 1, 2, 50, 8, 3  # RoBERTa counts positions from its padding token, 1
SIZE = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "max_position_embeddings": 40}
BERT = SIZE | {
    "hidden_size": DIM, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 16,
    "initializer_range": 0.5,  # far from zero, so that vectors differ
}  # fmt: skip
DISTILBERT = SIZE | {"dim": DIM, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 16, "initializer_range": 0.5}
FAMILY = {
    "bert": lambda: BertModel(BertConfig(**BERT)),
    "roberta": lambda: RobertaModel(RobertaConfig(**BERT, bos_token_id=CLS)),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(**DISTILBERT)),
    "electra": lambda: ElectraModel(ElectraConfig(**BERT, embedding_size=4)),  # narrower embeddings, projected
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(**BERT, bos_token_id=CLS, cls_token_id=CLS, eos_token_id=3, sep_token_id=3,
                         attention_dropout=0.1)  # an attention that keeps its rate as a number
    ),
}  # fmt: skip

every_model = pytest.mark.parametrize("family", FAMILY)


def encoder(family="bert", **arguments):
    torch.manual_seed(0)
    return TextEncoder(FAMILY[family](), **arguments)


def texts(*lengths, width=None):
    """Random texts, each with its first special token; ids and mask `(texts, tokens)`."""
    torch.manual_seed(1)
    mask = torch.arange(width or max(lengths, default=0)) < torch.tensor(lengths, dtype=torch.int64)[:, None]
    ids = torch.randint(4, VOCABULARY, mask.shape).masked_fill(~mask, PAD)
    ids[:, :1] = CLS
    return ids, mask


# -- pooling -----------------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_agrees_with_a_plain_forward_of_each_text_alone(family, pooling):
    part = encoder(family, pooling=pooling).eval()
    ids, mask = texts(3, 7, 5)
    vectors = part(ids, mask)
    assert vectors.shape == (3, DIM)
    assert vectors.dtype == torch.float32
    assert part.dim == DIM
    for text, length in enumerate([3, 7, 5]):
        hidden = part.model(input_ids=ids[text : text + 1, :length]).last_hidden_state[0]
        expected = hidden[0] if pooling == "cls" else sum(hidden[t] for t in range(length)) / length
        torch.testing.assert_close(vectors[text], expected, atol=1e-4, rtol=1e-4)


@every_model
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_filling_changes_no_vector_whatever_its_tokens(family, pooling):
    part = encoder(family, pooling=pooling).eval()
    ids, mask = texts(3, 7)
    wide_ids, wide_mask = torch.full((2, 12), PAD), torch.zeros(2, 12, dtype=torch.bool)
    wide_ids[:, :7], wide_mask[:, :7] = ids, mask
    other_ids = wide_ids.masked_fill(~wide_mask, 9)
    for filled in (wide_ids, other_ids):
        torch.testing.assert_close(part(filled, wide_mask), part(ids, mask), atol=1e-4, rtol=1e-4)


def test_a_text_without_any_token_gets_zeros():
    ids, mask = texts(3, 0)
    vectors = encoder().eval()(ids, mask)
    assert vectors.isfinite().all()
    assert (vectors[1] == 0).all()


# -- buckets -----------------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("edges", [[0, 6], [0, 2, 6], [0, 1, 2, 3, 4, 5, 6]])
def test_encoding_by_buckets_equals_encoding_at_once(family, edges):
    part, lengths = encoder(family).eval(), [2, 3, 3, 6, 9, 9]
    ids, mask = texts(*lengths)
    buckets = tuple((a, b, max(lengths[a:b])) for a, b in itertools.pairwise(edges))
    torch.testing.assert_close(part.encode(ids, mask, buckets), part(ids, mask), atol=1e-4, rtol=1e-4)


def test_encoding_by_buckets_gives_the_same_gradients():
    part, lengths = encoder().eval(), [2, 3, 9]
    ids, mask = texts(*lengths)
    gradients = [
        torch.autograd.grad(vectors.pow(3).sum(), list(part.parameters()))
        for vectors in (part(ids, mask), part.encode(ids, mask, ((0, 2, 3), (2, 3, 9))))
    ]
    for plain, by_buckets in zip(*gradients, strict=True):
        torch.testing.assert_close(by_buckets, plain, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("width", [0, 5])
def test_no_texts_give_no_vectors(width):
    ids, mask = torch.zeros(0, width, dtype=torch.int64), torch.zeros(0, width, dtype=torch.bool)
    vectors = encoder().encode(ids, mask, ())
    assert vectors.shape == (0, DIM)
    assert vectors.dtype == torch.float32


# -- frozen layers -----------------------------------------------------------------------------------------------------


def layer_of(name):
    """`layer.2.attention...` -> 2; None for what stands outside of the layers."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("n", [1, 2, LAYERS])
def test_frozen_layers_are_those_from_below_and_the_embeddings(family, n):
    part = encoder(family, frozen_layers=n)
    for name, weight in part.named_parameters():
        layer = layer_of(name)
        assert weight.requires_grad == (layer is not None and layer >= n), name
    assert part.trained == (n < LAYERS)


@every_model
def test_no_frozen_layers_train_all_and_minus_one_trains_nothing(family):
    assert all(weight.requires_grad for weight in encoder(family).parameters())
    assert not any(weight.requires_grad for weight in encoder(family, frozen_layers=-1).parameters())
    assert encoder(family).trained
    assert not encoder(family, frozen_layers=-1).trained


@pytest.mark.parametrize("n", [LAYERS + 1, -2])
def test_more_frozen_layers_than_there_are_is_told_with_the_cure(n):
    with pytest.raises(InputError, match=rf"model\.encoder\.frozen_layers is {n}, but.*3 layers: give 0 to 3, or -1"):
        encoder(frozen_layers=n)


def test_a_model_whose_layers_share_their_weights_can_be_frozen_as_a_whole_alone():
    model = AlbertModel(AlbertConfig(**BERT, embedding_size=4))
    with pytest.raises(InputError, match=r"no stack of 3 layers in AlbertModel: give 0, or -1 for all"):
        TextEncoder(model, frozen_layers=1)
    assert not TextEncoder(model, frozen_layers=-1).trained


@every_model
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("n", [0, 2])
def test_every_trained_weight_gets_a_gradient(family, pooling, n):
    part = encoder(family, pooling=pooling, frozen_layers=n).train()
    ids, mask = texts(3, 7)
    part.encode(ids, mask, ((0, 2, 7),)).pow(3).sum().backward()
    for name, weight in part.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name  # DDP stops where one has none


# -- dropout -----------------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_a_dropout_of_zero_replaces_every_rate_of_the_model(family, kernel):
    ids, mask = texts(3, 7, 5)
    own, without = encoder(family).train(), encoder(family, dropout=0.0).train()
    for part in (own, without):
        part.model.set_attn_implementation(kernel)
    assert not own(ids, mask).equal(own(ids, mask))
    torch.testing.assert_close(without(ids, mask), without.eval()(ids, mask), atol=1e-4, rtol=1e-4)


@every_model
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_attentions_draw_by_the_given_rate(family, kernel, monkeypatch):
    rates = set()

    def dropout(x, p=0.5, training=True, inplace=False):
        rates.add(p if training else 0.0)
        return x

    def attention(query, key, value, *args, dropout_p=0.0, **_):
        rates.add(dropout_p)
        return value

    monkeypatch.setattr(nn.functional, "dropout", dropout)
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", attention)
    part = encoder(family, dropout=0.25).train()
    part.model.set_attn_implementation(kernel)
    part(*texts(3, 7))
    assert rates == {0.25}


def test_without_a_dropout_the_models_own_rates_stay():
    assert {m.p for m in encoder().modules() if isinstance(m, nn.Dropout)} == {0.1}


@every_model
def test_evaluation_draws_nothing(family):
    part = encoder(family, dropout=0.5).eval()
    ids, mask = texts(3, 7)
    assert part(ids, mask).equal(part(ids, mask))


# -- texts at once -----------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_texts_that_are_encoded_again_for_the_gradient_get_the_same_one(family, dropout, at_once):
    ids, mask = texts(3, 4, 4, 6, 7)
    buckets = ((0, 3, 4), (3, 5, 7))
    found = []
    for texts_at_once in (None, at_once):
        made = encoder(family, dropout=dropout, texts_at_once=texts_at_once).train()
        if dropout and texts_at_once != 50:  # draws follow the parts: made equal by having the same parts
            parts = [(a, min(a + at_once, b), width) for start, b, width in buckets for a in range(start, b, at_once)]
        else:
            parts = buckets
        torch.manual_seed(3)
        vectors = made.encode(ids, mask, tuple(parts) if texts_at_once is None else buckets)
        (vectors.sin() * torch.arange(DIM)).sum().backward()
        found.append((vectors, {n: p.grad for n, p in made.named_parameters() if p.grad is not None}))
    (plain, its), (again, others) = found
    torch.testing.assert_close(again, plain)
    assert its.keys() == others.keys()
    for name, gradient in its.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-4, rtol=1e-3)  # of numbers up to tens


def test_activations_of_so_many_texts_are_kept():
    ids, mask = texts(*[8] * 40)

    def most_kept(texts_at_once):
        kept = 0

        def count(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        made = encoder(texts_at_once=texts_at_once).train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            made.encode(ids, mask, ((0, 40, 8),))
        return kept

    assert most_kept(4) < most_kept(None) / 5


def test_no_text_at_once_is_refused():
    with pytest.raises(InputError, match=r"model\.encoder\.texts_at_once is 0: give 1 or more, such as 64"):
        EncoderConfig("bert", texts_at_once=0)
