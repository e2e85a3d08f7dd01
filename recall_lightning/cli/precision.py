"""What a config's precision becomes on a processor that has no bfloat16."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

MIXED = ("bf16-mixed", "bf16")  # two names of one
_UNITS = ("avx512_bf16", "amx_bf16", "bf16")  # that multiply it: of x86 the first two, of ARM the last


def precision_here(asked: Any, accelerator: Any) -> Any:
    """The precision to train with on this machine.

    Args:
        asked: `trainer.precision`.
        accelerator: `trainer.accelerator`.

    Returns:
        What was asked for; but `32-true` for `bf16-mixed` on a CPU that would only imitate bfloat16, which takes it
        several times as long as float32 (docs/results.md, Speed of training).
    """
    return "32-true" if asked in MIXED and _on_cpu(accelerator) and not multiplies_bfloat16() else asked


def multiplies_bfloat16() -> bool:
    """Whether the processor itself multiplies bfloat16."""
    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.11
        return torch.cpu._is_avx512_bf16_supported()
    units: Mapping[str, Any] = torch.cpu.get_capabilities()
    return any(units.get(name) for name in _UNITS)


def _on_cpu(accelerator: Any) -> bool:
    others = (CUDAAccelerator, MPSAccelerator, XLAAccelerator)  # those among which Lightning chooses
    return accelerator == "cpu" or (accelerator == "auto" and not any(each.is_available() for each in others))
