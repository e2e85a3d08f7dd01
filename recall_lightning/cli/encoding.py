"""Flags of how a catalogue is encoded."""

import argparse

BACK_ENDS = ["float32", "bf16", "onnx", "onnx-int8", "openvino", "openvino-bf16", "openvino-int8"]
"""Of retrieval.back_ends, which would take seconds to import."""


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add `--encode-with` and `--cache`."""
    parser.add_argument(
        "--encode-with", choices=BACK_ENDS, default="float32", metavar="BACK_END",
        help=f"what encodes the items' texts: {', '.join(BACK_ENDS)}; all but float32 (default) are faster on some "
        "processors, bf16 on GPUs, too, and int8 costs recall: docs/results.md#speed-of-encoding",
    )  # fmt: skip
    parser.add_argument(
        "--cache", metavar="DIR",
        help="keep text vectors there: a run that is stopped goes on where it was, and only new texts are encoded",
    )  # fmt: skip
