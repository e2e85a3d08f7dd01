"""Tokens a second of training and encoding on a GPU, and their share of the card's bfloat16 matrix rate.

    python scripts/bench_gpu.py [--shapes 1024x16 512x64 256x128] [--repeats 5]

Encoders of MiniLM's size (6 layers, 384 wide) and BERT-base's (12 layers, 768 wide), weights drawn at random: forward,
backward and a step of fused AdamW on full texts, and encoding alone; bfloat16 autocast, as it comes and compiled. A
shape is texts x tokens. The floor is 6 (encoding: 2) operations for each token and each weight that is no embedding,
over the rate of an 8192 x 8192 x 8192 product measured in the same run: attention's own products, which grow with
length, count as overhead. Medians of `--repeats` rounds, eager and compiled in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from recall_lightning.models.encoder import TextEncoder

SIZES = {"MiniLM": (6, 384, 12), "BERT-base": (12, 768, 12)}  # layers, width, heads
STEPS = 10  # a round


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["1024x16", "512x64", "256x128"], metavar="TEXTSxTOKENS")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "no GPU here: run it on a machine that has one\n")
    rate = matrix_rate()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16 products {rate / 1e12:.0f} TFLOP/s\n")
    print(f"{'encoder':<11}{'shape':>9} {'tokens a second':<16}{'eager':>12}{'compiled':>12}{'share of floor':>20}")
    for size in asked.sizes:
        for shape in asked.shapes:
            n_texts, n_tokens = map(int, shape.split("x"))
            for work, operations in (("training", 6), ("encoding", 2)):
                encoders = [made(size, compiled=compiled) for compiled in (False, True)]
                steps = [step_of(encoder, n_texts, n_tokens, train=work == "training") for encoder in encoders]
                rounds = [[seconds(step) for step in steps] for _ in range(asked.repeats)]
                speeds = [n_texts * n_tokens / statistics.median(taken) for taken in zip(*rounds, strict=True)]
                floor = rate / (operations * n_weights(encoders[0]))
                print(
                    f"{size:<11}{shape:>9} {work:<16}{speeds[0]:>12,.0f}{speeds[1]:>12,.0f}"
                    f"{speeds[0] / floor:>10.0%}{speeds[1] / floor:>10.0%}",
                    flush=True,
                )


def matrix_rate(n: int = 8192) -> float:
    """Operations a second of a large bfloat16 product of random numbers."""
    left, right = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / statistics.median(seconds(lambda: left @ right) for _ in range(5))


def made(size: str, *, compiled: bool) -> TextEncoder:
    """An encoder on the GPU."""
    layers, width, heads = SIZES[size]
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="sdpa",
    )  # fmt: skip
    encoder = TextEncoder(BertModel(config)).cuda()
    if compiled:
        encoder.model.compile()
    return encoder


def step_of(encoder: TextEncoder, n_texts: int, n_tokens: int, *, train: bool) -> Callable[[], None]:
    """What is measured: a step of training, or encoding a batch."""
    ids = torch.randint(1000, 30_000, (n_texts, n_tokens), device="cuda")
    mask = torch.ones_like(ids, dtype=torch.bool)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-5, fused=True)

    def training() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            vectors: Tensor = encoder(ids, mask)
        vectors.square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @torch.no_grad()
    def encoding() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            encoder(ids, mask)

    step = training if train else encoding
    for _ in range(3):  # compiles, chooses kernels
        step()
    return step


def seconds(step: Callable[[], object]) -> float:
    """Of one step, by the clock, over a round of `STEPS`."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / STEPS


def n_weights(encoder: TextEncoder) -> int:
    """Weights that are no embeddings."""
    return sum(p.numel() for name, p in encoder.named_parameters() if "embeddings" not in name)


if __name__ == "__main__":
    main()
