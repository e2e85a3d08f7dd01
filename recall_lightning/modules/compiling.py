"""Compiling an encoder's layers with `torch.compile`."""

import os
import shutil
import sys

import torch
from torch import nn

from recall_lightning.errors import InputError

_CPP = "clang++" if sys.platform == "darwin" else "g++"  # what torch looks for


def compile_layers(model: nn.Module, device: torch.device) -> None:
    """Compile a transformer for texts of any number and length; its weights keep their names.

    Kinds of batches are compiled each for themselves, a few in a fit: with gradient and without, texts with filling and
    without, a single text.

    Args:
        model: the transformer, compiled in place.
        device: where it will run.

    Raises:
        InputError: if there is no compiler such as it takes: of C++ on a CPU, of C on a GPU.
    """
    variable, compilers = ("CC", ["gcc", "clang"]) if device.type == "cuda" else ("CXX", [_CPP])
    asked = [os.environ[variable]] if variable in os.environ else compilers
    if not any(map(shutil.which, asked)):
        raise InputError(
            f"model.encoder.compile is true, which takes a compiler, and there is no {' or '.join(asked)}: install "
            f"one, name it in the variable {variable}, or give compile: false"
        )
    model.compile(dynamic=True)
