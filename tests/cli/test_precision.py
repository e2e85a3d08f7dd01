"""A config's bf16-mixed, on processors with bfloat16 and without."""

import pytest
import torch
import yaml

from recall_lightning.cli import precision
from recall_lightning.cli.main import main
from recall_lightning.cli.precision import multiplies_bfloat16, precision_here


@pytest.fixture
def processor(monkeypatch):
    """Stands in for a processor's units, and for there being an accelerator."""

    def stand_in(units, by_torch=False, accelerator=False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: by_torch)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)

    return stand_in


@pytest.mark.parametrize(
    ("units", "by_torch", "has_it"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False, False),  # Zen 3, say
        ({"avx512_bf16": False, "amx_bf16": False}, True, False),  # Skylake: torch would imitate it by AVX-512
        ({"avx512_bf16": True, "amx_bf16": False}, True, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True, True),
        ({"neon": True}, True, True),  # of others torch is asked
        ({"neon": True}, False, False),
    ],
)
def test_bfloat16_is_there_where_the_processor_multiplies_it_itself(processor, units, by_torch, has_it):
    processor(units, by_torch)
    assert multiplies_bfloat16() == has_it


def test_a_processor_without_it_trains_in_float32(processor):
    processor({"avx512_bf16": False})
    assert precision_here("bf16-mixed", "cpu") == "32-true"
    assert precision_here("bf16-mixed", "auto") == "32-true"


def test_all_else_stays_as_it_was_asked_for(processor):
    processor({"avx512_bf16": False})
    for asked in (None, "32-true", "bf16-true", "64-true", 32):
        assert precision_here(asked, "cpu") == asked
    assert precision_here("bf16-mixed", "cuda") == "bf16-mixed"
    processor({"avx512_bf16": False}, accelerator=True)
    assert precision_here("bf16-mixed", "auto") == "bf16-mixed"
    assert precision_here("bf16-mixed", "cpu") == "32-true"
    processor({"avx512_bf16": True})
    assert precision_here("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("has_it", [True, False])
def test_fit_says_so_and_keeps_what_was_asked_for(typed, tiny_encoder, monkeypatch, capsys, has_it):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: has_it)
    reader = {"interactions": str(typed / "interactions.csv"), "items": str(typed / "items.csv")}
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(typed)}}
    settings = {
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "precision": "bf16-mixed", "logger": logger},
        "data": {"reader": {"class_path": "Tabular", "init_args": reader}, "text": "{title}"},
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }
    (typed / "config.yaml").write_text(yaml.safe_dump(settings))
    main(["fit", "--config", str(typed / "config.yaml")])
    assert ("precision: 32-true, since this processor has no bfloat16" in capsys.readouterr().err) != has_it
    (kept,) = typed.glob("*/**/config.yaml")
    assert yaml.safe_load(kept.read_text())["trainer"]["precision"] == "bf16-mixed"
