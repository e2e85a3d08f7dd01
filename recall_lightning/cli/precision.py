"""What a config's precision becomes on a processor that has no bfloat16."""

from collections.abc import Mapping
from typing import Any

import torch


def precision_here(asked: Any, accelerator: Any) -> Any:
    """The precision to train with on this machine.

    Args:
        asked: `trainer.precision`.
        accelerator: `trainer.accelerator`.

    Returns:
        What was asked for; but `32-true` for `bf16-mixed` on a CPU that would only imitate bfloat16, at several times
        float32's time.
    """
    if asked != "bf16-mixed" or multiplies_bfloat16():
        return asked
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    return "32-true" if on_cpu else asked


def multiplies_bfloat16() -> bool:
    """Whether the processor itself multiplies bfloat16."""
    units: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if "avx512_bf16" in units:
        return bool(units["avx512_bf16"] or units.get("amx_bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # of other processors, and what torch itself asks
