"""Adapters on a transformer: what they compute, where they are, and what they leave alone."""

import copy
import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AlbertConfig, AlbertModel, AutoModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from recall_lightning.errors import InputError
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.lora import add_adapters, merge_adapters
from recall_lightning.modules.encoder_config import EncoderConfig

pytest.importorskip("peft", reason="the extra `lora` isn't installed")

LAYERS = 3
BERT = {
    "vocab_size": 50, "hidden_size": 8, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 40, "initializer_range": 0.5,  # far from zero, so that vectors differ
}  # fmt: skip
FAMILY = {
    "bert": lambda: BertModel(BertConfig(**BERT)),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(vocab_size=50, dim=8, n_layers=LAYERS, n_heads=2,
                                                           hidden_dim=16, max_position_embeddings=40)),
    "albert": lambda: AlbertModel(AlbertConfig(**BERT, embedding_size=8)),  # its layers share their weights
}  # fmt: skip

every_model = pytest.mark.parametrize("family", FAMILY)


def encoder(family="bert", frozen_layers=0):
    torch.manual_seed(0)
    return TextEncoder(FAMILY[family](), frozen_layers=frozen_layers)


def adapted(family="bert", *, rank=2, alpha=6, frozen_layers=0):
    part = encoder(family, frozen_layers)
    add_adapters(part.model, rank=rank, alpha=alpha)
    return part


def texts():
    """Ids and mask of three random texts of 3, 7 and 5 tokens, each `(texts, tokens)`."""
    ids = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(1))
    return ids, torch.arange(7) < torch.tensor([3, 7, 5])[:, None]


def trained(part):
    return {name for name, p in part.named_parameters() if p.requires_grad}


# -- what adapters compute ---------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("dropout", [False, True])
def test_new_adapters_change_no_vector_at_all(family, dropout):
    plain, part = encoder(family).train(dropout), adapted(family).train(dropout)
    vectors = []
    for one in (plain, part):
        torch.manual_seed(7)  # dropout draws alike: adapters draw nothing
        vectors.append(one(*texts()))
    assert vectors[0].equal(vectors[1])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2))
def test_adapters_are_the_same_as_adding_alpha_by_rank_times_b_a_to_each_weight(rank, alpha, frozen_layers):
    part = adapted(rank=rank, alpha=alpha, frozen_layers=frozen_layers).eval()
    plain = encoder().eval()
    generator = torch.Generator().manual_seed(rank)
    with torch.no_grad():
        for name, module in part.model.named_modules():
            if hasattr(module, "lora_B"):
                a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
                b.copy_(torch.randn(b.shape, generator=generator) / alpha)
                plain.model.get_submodule(name).weight += alpha / rank * b @ a
    torch.testing.assert_close(part(*texts()), plain(*texts()), atol=1e-4, rtol=1e-4)
    assert not part(*texts()).allclose(encoder().eval()(*texts()), atol=1e-2)


# -- where they are, and what is trained -------------------------------------------------------------------------------


def test_every_linear_layer_of_the_layers_gets_one_and_nothing_else_is_trained():
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
             "intermediate.dense", "output.dense"]  # fmt: skip
    assert trained(adapted()) == {
        f"model.encoder.layer.{layer}.{part}.lora_{half}.default.weight"
        for layer in range(LAYERS) for part in parts for half in "AB"
    }  # fmt: skip


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("n", [1, 2])
def test_frozen_layers_get_no_adapters(family, n):
    names = trained(adapted(family, frozen_layers=n))
    assert len(names) == (LAYERS - n) * 6 * 2
    assert {int(re.search(r"layer\.(\d)\.", name)[1]) for name in names} == set(range(n, LAYERS))


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_the_tiny_encoder_trains_448_weights_a_rank_and_layer(tiny_encoder, rank, frozen_layers):
    # four matrices of attention of 32 x 32, one of 64 x 32, one of 32 x 64: 4 (32 + 32) + 2 (32 + 64) = 448
    config = EncoderConfig(str(tiny_encoder), lora_rank=rank, frozen_layers=frozen_layers)
    part = config.text_encoder(AutoModel.from_pretrained(tiny_encoder))
    assert sum(p.numel() for p in part.parameters() if p.requires_grad) == 448 * rank * (2 - frozen_layers)


@every_model
def test_the_model_keeps_its_class_its_embeddings_and_its_weights(family):
    plain, part = encoder(family), adapted(family)
    assert type(part.model) is type(plain.model)
    assert part.model.get_input_embeddings().weight.equal(plain.model.get_input_embeddings().weight)
    kept = {name.replace(".base_layer", ""): p for name, p in part.named_parameters() if "lora_" not in name}
    assert kept.keys() == dict(plain.named_parameters()).keys()
    assert all(p.equal(kept[name]) for name, p in plain.named_parameters())


@every_model
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_every_adapter_gets_a_gradient_and_nothing_else_does(family, pooling):
    part = adapted(family).train()
    part.pooling = pooling
    part.encode(*texts(), ((0, 3, 7),)).pow(3).sum().backward()
    for name, weight in part.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name  # DDP stops where one has none


def test_a_copy_loads_the_weights_of_another(tmp_path):
    part, other = adapted().eval(), adapted().eval()
    for name in trained(part):
        nn.init.normal_(part.get_parameter(name))
    torch.save(part.state_dict(), tmp_path / "weights.pt")
    assert not part(*texts()).allclose(other(*texts()))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert part(*texts()).equal(other(*texts()))
    assert copy.deepcopy(part)(*texts()).equal(other(*texts()))


# -- merging -----------------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_merging_leaves_a_model_as_if_it_never_had_adapters_that_gives_the_same_vectors(family, frozen_layers):
    plain, part = encoder(family), adapted(family, frozen_layers=frozen_layers if family != "albert" else 0).eval()
    for name in trained(part):
        nn.init.normal_(part.get_parameter(name), std=0.3)
    before, pretrained = part(*texts()), plain.eval()(*texts())
    merge_adapters(part.model)
    torch.testing.assert_close(part(*texts()), before, atol=1e-5, rtol=1e-5)
    assert not part(*texts()).allclose(pretrained, atol=1e-2)
    assert part.state_dict().keys() == plain.state_dict().keys()
    assert {type(module) for module in part.modules()} == {type(module) for module in plain.modules()}
    assert not hasattr(part.model, "peft_config")


def test_adapters_can_be_added_to_what_was_merged():
    part = adapted(rank=2).eval()
    for name in trained(part):
        nn.init.normal_(part.get_parameter(name), std=0.3)
    merge_adapters(part.model.requires_grad_(True))
    before = part(*texts())
    add_adapters(part.model.requires_grad_(True), rank=5, alpha=5)
    assert part(*texts()).equal(before)
    assert len(trained(part)) == LAYERS * 6 * 2


def test_merging_without_adapters_changes_nothing_and_does_not_import_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setitem(sys.modules, "peft.tuners.tuners_utils", None)
    plain, part = encoder(), encoder()
    merge_adapters(part.model)
    assert all(p.equal(part.get_parameter(name)) for name, p in plain.named_parameters())


# -- errors ------------------------------------------------------------------------------------------------------------


def test_with_every_layer_frozen_there_is_nowhere_for_an_adapter():
    with pytest.raises(InputError, match=r"lora_rank is 2, but frozen_layers leaves no layer.*: freeze fewer layers"):
        adapted(frozen_layers=LAYERS)


def test_an_encoder_frozen_as_a_whole_is_refused_before_any_data_is_read():
    with pytest.raises(InputError, match=r"lora_rank is 4, but with frozen_layers: -1 nothing.*give frozen_layers: 0"):
        EncoderConfig("anywhere", frozen_layers=-1, lora_rank=4)


@pytest.mark.parametrize(("key", "value"), [("lora_rank", 0), ("lora_rank", -2), ("lora_alpha", 0)])
def test_a_rank_or_alpha_below_one_is_refused(key, value):
    with pytest.raises(InputError, match=rf"model\.encoder\.{key} is {value}: give 1 or more, such as 16"):
        EncoderConfig("anywhere", **({"lora_rank": 4} | {key: value}))


def test_without_peft_one_is_told_how_to_get_it_but_only_for_adapters(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)  # what Python takes for a package that isn't there
    assert EncoderConfig("anywhere").lora_rank is None
    with pytest.raises(InputError, match=r"lora_rank is 4, which needs peft\. Install it: pip install peft"):
        EncoderConfig("anywhere", lora_rank=4)


def test_an_encoder_without_adapters_does_not_import_peft(monkeypatch, tiny_encoder):
    monkeypatch.setitem(sys.modules, "peft", None)
    part = EncoderConfig(str(tiny_encoder)).text_encoder(AutoModel.from_pretrained(tiny_encoder))
    assert all(p.requires_grad for p in part.parameters())
