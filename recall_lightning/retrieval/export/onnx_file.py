"""A network of two inputs as an ONNX file, checked by ONNX Runtime."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recall_lightning.errors import InputError

CLOSE = 1e-4  # how far a graph's numbers may be from the model's, of those that are above 1 as a share
_TRACED = (2, 5)  # texts and tokens, or users and items, by which a graph is traced; it holds for any
_CHECKED = [(1, 1), (3, 7)]
_LARGEST = 2**31 - 2**24  # bytes of an ONNX file; larger weights lie beside it


def write_graph(
    graph: nn.Module, path: Path, inputs: Callable[[int, int], tuple[Tensor, Tensor]], names: list[str],
    outputs: list[str],
) -> None:  # fmt: skip
    """Write a graph whose inputs' first dimensions may be of any size, and check it by ONNX Runtime.

    Args:
        graph: of two inputs, that gives a tuple; put into evaluation mode.
        path: the file to write.
        inputs: makes inputs of two dimensions.
        names: of the inputs.
        outputs: their names.

    Raises:
        InputError: if the file's numbers are not the graph's.
    """
    graph.eval()
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of how the tracer will change: nothing to act upon
        program = torch.onnx.export(
            graph, inputs(*_TRACED), dynamo=True, verbose=False, input_names=names, output_names=outputs,
            dynamic_shapes=(axes, axes),
        )  # fmt: skip
    assert program is not None  # dynamo gives one
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where this machine has the code that was traced
    size = sum(weight.const_value.nbytes for weight in program.model.graph.initializers.values() if weight.const_value)
    program.save(path, external_data=size > _LARGEST)
    _check(graph, path, [inputs(*shape) for shape in _CHECKED], names)


def _check(graph: nn.Module, path: Path, batches: list[tuple[Tensor, Tensor]], names: list[str]) -> None:
    """Raise InputError where the file's numbers are not the graph's."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in batches:
        with torch.no_grad():
            wanted = graph(*batch)
        found = session.run(None, {name: part.numpy() for name, part in zip(names, batch, strict=True)})
        for ours, theirs in zip(wanted, found, strict=True):
            apart = float((ours - torch.from_numpy(theirs)).abs().max() / ours.abs().max().clamp(min=1))
            if not apart <= CLOSE:
                raise InputError(
                    f"{path.name} gives other vectors in ONNX Runtime than the model in torch, by {apart:.2g} for "
                    f"inputs {tuple(batch[0].shape)}, so it isn't kept. Try the versions of onnx, onnxscript and "
                    "onnxruntime in requirements.txt, or do without ONNX"
                )
