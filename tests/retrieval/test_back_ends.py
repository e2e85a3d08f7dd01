"""Back ends: the vectors of torch in float32, as nearly as each promises, for texts of any number and length."""

import shutil
import sys
from contextlib import nullcontext

import pytest
import torch
from exports import trained

from recall_lightning import InputError, Recommender, TransformerTower
from recall_lightning.cli import encoding as flags
from recall_lightning.data.tokens import tokenize
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.models.lora import add_adapters
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.pretrained import load_model, load_tokenizer
from recall_lightning.retrieval import back_ends
from recall_lightning.retrieval.back_ends import BACK_ENDS, check

CPU = torch.device("cpu")
TEXTS = ["the piano", "heat", "", "alien", "a fish called wanda", "m" * 30, "m" * 31, "fargo", "heat"]
LEAST_COSINE = {
    "float32": 1 - 1e-6, "bf16": 0.999, "onnx": 1 - 1e-6, "onnx-int8": 0.99, "openvino": 1 - 1e-6,
    "openvino-bf16": 0.999, "openvino-int8": 0.999,
}  # fmt: skip


def test_the_flag_offers_each_and_each_is_tested():
    assert flags.BACK_ENDS == list(BACK_ENDS) == list(LEAST_COSINE)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def written_once(graphs, monkeypatch):
    """Has back ends that start from the same graph of ONNX share the file that the first one wrote."""

    def share(name):
        def write(graph, path, *settings, write=back_ends.write_graph):
            if not (graphs / name).exists():
                write(graph, graphs / name, *settings)
            shutil.copy(graphs / name, path)

        monkeypatch.setattr(back_ends, "write_graph", write)

    return share


@pytest.mark.parametrize("attention", ["sdpa", "packed"])
@pytest.mark.parametrize("name", BACK_ENDS)
def test_vectors_are_those_of_float32(name, attention, tiny_encoder, written_once):
    written_once(f"{attention}.onnx")
    encoder = TextEncoder(load_model(str(tiny_encoder), attention=attention)).eval()
    before = {key: weight.clone() for key, weight in encoder.state_dict().items()}
    tokens = tokenize(TEXTS, load_tokenizer(str(tiny_encoder)), max_tokens=40)
    exact = encode_texts(encoder, tokens, CPU)
    back_end = BACK_ENDS[name](encoder, CPU)
    for limit in (None, 16):  # together, and some alone
        made = encode_texts(back_end, tokens, CPU, tokens_at_once=limit)
        assert made.dtype == torch.float32
        assert torch.cosine_similarity(made, exact).min() >= LEAST_COSINE[name]
        if LEAST_COSINE[name] > 0.9999:
            torch.testing.assert_close(made, exact, atol=1e-4, rtol=0)
    assert all(weight.equal(before[key]) for key, weight in encoder.state_dict().items())


def test_nobody_is_told_of_a_conversion(tiny_encoder):
    BACK_ENDS["openvino-int8"](TextEncoder(load_model(str(tiny_encoder))).eval(), CPU)
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert not hasattr(sys.modules["nncf.telemetry.wrapper"], "Telemetry")


@pytest.mark.parametrize("name", ["bf16", "openvino"])
def test_adapters_count(name, tiny_encoder):
    torch.manual_seed(0)  # of the adapters' other factor
    encoder = TextEncoder(load_model(str(tiny_encoder))).eval()
    add_adapters(encoder.model, rank=2, alpha=4)
    with torch.no_grad():
        for key, weight in encoder.named_parameters():
            if "lora_B" in key:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    tokens = tokenize(TEXTS, load_tokenizer(str(tiny_encoder)), max_tokens=40)
    exact, made = encode_texts(encoder, tokens, CPU), encode_texts(BACK_ENDS[name](encoder, CPU), tokens, CPU)
    assert torch.cosine_similarity(made, exact).min() > 0.999


@pytest.mark.parametrize(("name", "library", "cure"), [
    ("onnx-int8", "onnxscript", "onnxscript. Install it: pip install 'recall-lightning[export]'"),
    ("openvino", "openvino", "openvino. Install it: pip install 'recall-lightning[openvino]'"),
    ("openvino-int8", "nncf", "nncf. Install it: pip install 'recall-lightning[openvino]'"),
])  # fmt: skip
def test_a_missing_library_is_told_with_the_cure(name, library, cure, monkeypatch):
    monkeypatch.setattr(back_ends, "is_installed", lambda asked: asked != library)
    with pytest.raises(InputError) as told:
        check(name, CPU)
    assert str(told.value) == f"--encode-with {name} needs {cure}"


@pytest.mark.parametrize(("name", "device", "problem"), [
    ("tpu", "cpu", "no such back end. Give one of float32, bf16, onnx, onnx-int8, openvino, openvino-bf16, "),
    ("openvino-bf16", "cuda:0", "computes on a CPU, not on cuda:0. Give bf16, or device cpu"),
    ("bf16", "cuda:0", None),
])  # fmt: skip
def test_what_can_t_encode_there_is_told(name, device, problem):
    with nullcontext() if problem is None else pytest.raises(InputError, match=f"--encode-with {name}.*{problem}"):
        check(name, torch.device(device))


def test_a_recommender_ranks_by_the_back_end_s_vectors_and_keeps_each_one_s_apart(typed, tiny_encoder, tmp_path):
    checkpoint = trained(typed, tiny_encoder, TransformerTower(1, 2))
    exact = Recommender.from_checkpoint(checkpoint, device="cpu")
    for _ in range(2):  # the second time from the cache
        for name in ("float32", "bf16"):
            made = Recommender.from_checkpoint(checkpoint, device="cpu", encode_with=name, cache_dir=tmp_path / "kept")
            apart = float((made.vectors - exact.vectors).abs().max())
            assert apart < 1e-6 if name == "float32" else 1e-6 < apart < 0.05
            assert made.recommend({"zoe": ["heat", "alien"]}, k=3).table.num_rows == 3
    assert len(list((tmp_path / "kept").glob("vectors-*/*.npz"))) == 2
    with pytest.raises(InputError, match="no such back end"):
        Recommender.from_checkpoint("missing.ckpt", encode_with="tpu")  # told before anything is read
