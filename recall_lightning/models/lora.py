"""Low-rank adapters: few trained weights beside an encoder's own, which stay as they are."""

from torch import nn
from transformers import PreTrainedModel

from recall_lightning.errors import InputError


def add_adapters(model: PreTrainedModel, *, rank: int, alpha: int) -> None:
    """Give each linear layer that is trained an adapter, and train the adapters instead of the model's weights.

    A layer `x W^T` becomes `x W^T + alpha/rank x A^T B^T` (LoRA, Hu et al., ICLR 2022). B starts at zero, so that the
    model's answers are those it gave before.

    Args:
        model: changed in place; what of it is frozen gets no adapter.
        rank: rows of A `(rank, inputs)`, columns of B `(outputs, rank)`.
        alpha: scale of the adapters.

    Raises:
        InputError: if no linear layer is trained.
    """
    from peft import LoraConfig, inject_adapter_in_model  # an extra, which few have

    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and part.weight.requires_grad]
    if not linear:
        raise InputError(
            f"model.encoder.lora_rank is {rank}, but frozen_layers leaves no layer that could get an adapter: freeze "
            "fewer layers, or give lora_rank: null"
        )
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear), model)


def merge_adapters(model: PreTrainedModel) -> None:
    """Add what adapters learned to the weights beside them, and take the adapters away.

    The model answers as before, to float accuracy.

    Args:
        model: changed in place; without adapters it is left as it is. Its weights stay frozen where they are.
    """
    if not hasattr(model, "peft_config"):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, part in list(model.named_modules()):
        if isinstance(part, BaseTunerLayer):
            part.merge(safe_merge=True)
            model.set_submodule(name, part.get_base_layer())
    del model.peft_config
