"""Back ends: what encodes a catalogue instead of torch in float32."""

import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recall_lightning.errors import InputError
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import Encoder
from recall_lightning.retrieval.export.merged import merged_encoder
from recall_lightning.retrieval.export.onnx_file import write_graph

NAMES = ["input_ids", "attention_mask"]


class Bfloat16:
    """Products in bfloat16, all else in float32: for GPUs, and for processors with AMX or avx512_bf16.

    Args:
        encoder: stays as it is.
        device: where to compute.
    """

    def __init__(self, encoder: TextEncoder, device: torch.device) -> None:
        self.dim, self._device = encoder.dim, device
        self._encoder = merged_encoder(encoder).to(device)
        for layer in self._encoder.modules():
            if isinstance(layer, nn.Linear):
                layer.to(torch.bfloat16)  # once, where autocast would in every batch

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16):
            vectors: Tensor = self._encoder(ids, mask)
        return vectors


class OnnxRuntime:
    """ONNX Runtime on a CPU.

    Args:
        encoder: stays as it is.
        device: not looked at.
        int8: whether weights are rounded to 8 bits, and what they are multiplied with, too, by its range in each batch.
    """

    def __init__(self, encoder: TextEncoder, device: torch.device, *, int8: bool = False) -> None:
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic

        self.dim = encoder.dim
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "encoder.onnx"
            write_graph(_Graph(encoder), path, partial(_texts, encoder), NAMES, ["vectors"])
            if int8:
                quantize_dynamic(path, path := path.with_name("int8.onnx"), weight_type=QuantType.QInt8)
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        (vectors,) = self._session.run(None, dict(zip(NAMES, _inputs(ids, mask), strict=True)))
        return torch.from_numpy(vectors)


class OpenVino:
    """OpenVINO on a CPU. Nobody is told of it: its telemetry is left out, unless it was loaded before.

    Args:
        encoder: stays as it is.
        device: not looked at.
        precision: of products; `bf16` is float32 where the processor has no bfloat16. `int8`: weights are rounded to 8
            bits, and what they are multiplied with, too, by its range in each group of 32 numbers.
    """

    def __init__(
        self, encoder: TextEncoder, device: torch.device, *, precision: Literal["f32", "bf16", "int8"] = "f32"
    ) -> None:
        # it would tell OpenVINO's makers of each conversion, and wait for them; without it OpenVINO and NNCF don't
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self.dim = encoder.dim
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what tracing takes for constant
            model = openvino.convert_model(_Graph(encoder), example_input=_texts(encoder, 2, 5))
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        if precision == "int8":
            import nncf

            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
            settings |= {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32, "INFERENCE_PRECISION_HINT": "bf16"}
        else:
            settings["INFERENCE_PRECISION_HINT"] = precision
        self._compiled: Any = openvino.compile_model(model, "CPU", settings)

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.from_numpy(self._compiled(_inputs(ids, mask))[0].copy())


Make = Callable[[TextEncoder, torch.device], Encoder]
BACK_ENDS: dict[str, Make] = {
    "float32": lambda encoder, device: encoder,
    "bf16": Bfloat16,
    "onnx": OnnxRuntime,
    "onnx-int8": partial(OnnxRuntime, int8=True),
    "openvino": OpenVino,
    "openvino-bf16": partial(OpenVino, precision="bf16"),
    "openvino-int8": partial(OpenVino, precision="int8"),
}
NEEDS = {"onnx": ("export", ["onnx", "onnxscript", "onnxruntime"]), "openvino": ("openvino", ["openvino", "nncf"])}


def check(name: str, device: torch.device) -> None:
    """Refuse, before anything is loaded, what can't encode here.

    Raises:
        InputError: if the back end is unknown, its library isn't installed, or the device is not one of its.
    """
    if name not in BACK_ENDS:
        raise InputError(f"--encode-with {name}: no such back end. Give one of {', '.join(BACK_ENDS)}")
    library = name.split("-")[0]
    if library not in NEEDS:
        return
    extra, libraries = NEEDS[library]
    missing = [needed for needed in libraries if not is_installed(needed)]
    if missing:
        raise InputError(
            f"--encode-with {name} needs {' and '.join(missing)}. Install it: pip install 'recall-lightning[{extra}]'"
        )
    if device.type != "cpu":
        raise InputError(f"--encode-with {name} computes on a CPU, not on {device}. Give bf16, or device cpu")


def is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


class _Graph(nn.Module):
    """A merged encoder with the inputs that graphs of transformers have."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = merged_encoder(encoder)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (self.encoder(input_ids, attention_mask > 0),)


def _texts(encoder: TextEncoder, n: int, length: int) -> tuple[Tensor, Tensor]:
    """Any texts, by which to trace: ids and mask, the second text shorter than the first."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, encoder.model.config.vocab_size, (n, length)))
    return ids, (torch.arange(length) < torch.tensor([[length], [1]]).repeat(n, 1)[:n]).long()


def _inputs(ids: Tensor, mask: Tensor | None) -> tuple[Any, Any]:
    return ids.numpy(), np.ones(ids.shape, np.int64) if mask is None else mask.numpy().astype(np.int64)
