"""A config's bf16-mixed, on processors with bfloat16 and without."""

import pytest
import torch
import yaml
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

from recall_lightning.cli import precision
from recall_lightning.cli.main import main
from recall_lightning.cli.precision import multiplies_bfloat16, precision_here


@pytest.fixture
def machine(monkeypatch):
    """Stands in for a processor's units, and for the accelerators beside it."""

    def stand_in(units, *accelerators):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
        for each in (CUDAAccelerator, MPSAccelerator, XLAAccelerator):
            monkeypatch.setattr(each, "is_available", staticmethod(lambda each=each: each in accelerators))

    return stand_in


@pytest.mark.parametrize(
    ("units", "has_it"),
    [
        ({"avx2": True, "avx512_f": False, "avx512_bf16": False, "amx_bf16": False}, False),  # Zen 3, say
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),  # Skylake
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({"neon": True, "bf16": False}, False),
        ({"architecture": "riscv64"}, False),
    ],
)
def test_bfloat16_is_there_where_the_processor_multiplies_it_itself(machine, units, has_it):
    machine(units)
    assert multiplies_bfloat16() == has_it


def test_an_older_torch_is_asked_in_its_own_way(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for has_it in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_it=has_it: has_it, raising=False)
        assert multiplies_bfloat16() == has_it


@pytest.mark.parametrize("asked", ["bf16-mixed", "bf16"])
@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_a_processor_without_it_trains_in_float32(machine, asked, accelerator):
    machine({"avx512_bf16": False})
    assert precision_here(asked, accelerator) == "32-true"
    machine({"avx512_bf16": True})
    assert precision_here(asked, accelerator) == asked


@pytest.mark.parametrize("asked", [None, "32-true", "bf16-true", "16-mixed", "64-true", 32])
def test_any_other_precision_stays_as_it_was_asked_for(machine, asked):
    machine({"avx512_bf16": False})
    assert precision_here(asked, "cpu") == asked


@pytest.mark.parametrize("other", [CUDAAccelerator, MPSAccelerator, XLAAccelerator])
def test_what_is_trained_elsewhere_than_on_the_processor_stays_as_it_was_asked_for(machine, other):
    machine({"avx512_bf16": False}, other)
    assert precision_here("bf16-mixed", "auto") == "bf16-mixed"
    assert precision_here("bf16-mixed", "gpu") == "bf16-mixed"
    assert precision_here("bf16-mixed", "cpu") == "32-true"


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
