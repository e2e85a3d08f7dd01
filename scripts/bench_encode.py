"""Texts encoded a second, by every back end and by `SentenceTransformer.encode` as it comes, on one core.

    python scripts/bench_encode.py --encoder downloads/minilm --movielens ml-1m [--long 300] [--repeats 5]
    python scripts/bench_encode.py --ckpt best.ckpt --config configs/movielens-100k.yaml

The first way takes the texts of MovieLens-1M's films, titles with genres and titles with plots (for which the folder
must hold `movies_extrainfos.dat`). All take turns, tokenizing included; texts/s are by medians, ratios to
sentence-transformers. The share of the floor is 2 x weights of linear layers x real tokens over the rate of matrix
products, measured in the same precision (the better of the encoder's own shape and a large square), and over the
seconds taken. Cosines are to torch's float32.

The second way tells what each back end costs a checkpoint that was trained on the config's data: Recall@10 of its test,
the catalogue encoded by that back end, and how much of the float32 model's ten best items remain.
The program's own flags are passed on: `--data.reader.init_args.path ...`.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from recall_lightning import MovieLens
from recall_lightning.baselines.evaluate import rank_cases, recall_of
from recall_lightning.baselines.trained import Trained
from recall_lightning.cli.quiet import quiet_libraries
from recall_lightning.cli.trainer import data_of
from recall_lightning.data.tokens import tokenize
from recall_lightning.models.encoder import TextEncoder
from recall_lightning.modules.encoding import Encoder, encode_texts
from recall_lightning.pretrained import load_model, load_tokenizer
from recall_lightning.retrieval.back_ends import BACK_ENDS

CPU = torch.device("cpu")
TEXTS = {"titles": "{title} ({year}). {genres}", "plots": "{title} ({year}). {plot}"}
THEIRS = "sentence-transformers"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", help="folder of the encoder, one that SentenceTransformer loads")
    parser.add_argument("--movielens", help="folder of MovieLens-1M")
    parser.add_argument("--short", type=int, default=1500, help="texts without plots")
    parser.add_argument("--long", type=int, default=300, help="texts with them")
    parser.add_argument("--max-tokens", type=int, default=256, help="of a text, as MiniLM's own settings have it")
    parser.add_argument("--back-ends", nargs="+", choices=BACK_ENDS, default=list(BACK_ENDS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ckpt", help="a checkpoint, whose recall is measured instead")
    parser.add_argument("--config", help="its config")
    asked, keys = parser.parse_known_args()
    torch.set_num_threads(1)
    quiet_libraries()
    print(f"{processor()}, one core, torch {torch.__version__}\n")
    if asked.ckpt and asked.config:
        recalls(asked.ckpt, asked.config, keys, asked.back_ends)
    elif asked.encoder and asked.movielens:
        speeds(asked)
    else:
        parser.error("give --encoder and --movielens, or --ckpt and --config")


def speeds(asked: argparse.Namespace) -> None:
    """Both tables of speed."""
    rates = {kind: rate(kind) for kind in (torch.float32, torch.bfloat16)}
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(asked.encoder, device="cpu")
    theirs.max_seq_length = asked.max_tokens
    encoder, tokenizer = TextEncoder(load_model(asked.encoder)).eval(), load_tokenizer(asked.encoder)
    linear = sum(layer.weight.numel() for layer in encoder.modules() if isinstance(layer, nn.Linear))
    ours: dict[str, Encoder] = {name: BACK_ENDS[name](encoder, CPU) for name in asked.back_ends}
    told = ", ".join(f"{str(kind).removeprefix('torch.')} {found / 1e9:,.0f}" for kind, found in rates.items())
    print(f"matrix products, GFLOP/s: {told}; {linear / 1e6:.1f} M weights of linear layers")
    for (label, template), most in zip(TEXTS.items(), (asked.short, asked.long), strict=True):
        every = MovieLens(asked.movielens).read_items(template).texts
        texts = every[:: max(len(every) // most, 1)][:most]
        real = int(tokenize(texts, tokenizer, max_tokens=asked.max_tokens).lengths.sum())

        def by(name: str, texts: list[str] = texts) -> Tensor:
            if name == THEIRS:
                return theirs.encode(texts, show_progress_bar=False, convert_to_tensor=True)
            tokens = tokenize(texts, tokenizer, max_tokens=asked.max_tokens)
            return encode_texts(ours[name], tokens, CPU)

        names = [THEIRS, *ours]
        exact = encode_texts(encoder, tokenize(texts, tokenizer, max_tokens=asked.max_tokens), CPU)
        least = {name: float(torch.cosine_similarity(by(name), exact).min()) for name in names}  # and warms up
        taken = in_turn({name: functools.partial(by, name) for name in names}, asked.repeats)
        print(f"\n{len(texts):,} {label} of {real / len(texts):.0f} tokens, {asked.repeats} repeats in turn")
        print(f"{'':<24}{'texts/s':>9}{'(least, most)':>16}{'ratio':>8}{'of the floor':>14}{'least cosine':>14}")
        for name in names:
            seconds = statistics.median(taken[name])
            share = ""
            if "int8" not in name:
                kind = torch.bfloat16 if "bf16" in name else torch.float32
                share = f"{2 * linear * real / rates[kind] / seconds:.0%}"
            spread = f"({len(texts) / max(taken[name]):,.0f}, {len(texts) / min(taken[name]):,.0f})"
            print(
                f"{name:<24}{len(texts) / seconds:>9,.0f}{spread:>16}"
                f"{statistics.median(taken[THEIRS]) / seconds:>8.2f}{share:>14}{least[name]:>14.6f}",
                flush=True,
            )


def recalls(ckpt: str, config: str, keys: list[str], names: list[str]) -> None:
    """The table of recall."""
    data = data_of([config], keys, quiet=True)
    data.setup()
    trained = Trained(ckpt)
    trained.check(data)
    trained.fit(data.split.train, data)
    model, cases = trained.module.model, data.split.test
    encoder = model.encoder.eval()
    exact = encode_texts(encoder, trained.tokens, CPU)
    print(f"{ckpt}: {len(cases):,} test cases, {len(exact):,} items")
    print(f"{'':<24}{'Recall@10':>10}{'best ten kept':>15}{'least cosine':>14}{'mean':>10}")
    first: Tensor | None = None
    for name in dict.fromkeys(["float32", *names]):
        vectors = encode_texts(BACK_ENDS[name](encoder, CPU), trained.tokens, CPU)
        with torch.no_grad():
            model.cache.vectors.copy_(vectors)
            trained.module.item_vectors = model.catalogue_vectors()
        found = rank_cases(trained, cases, data)
        best = found.lists[:, :10]
        first = best if first is None else first
        kept = float((best[:, :, None] == first[:, None, :]).any(1).float().mean())
        cosines = torch.cosine_similarity(vectors, exact)
        print(
            f"{name:<24}{recall_of(found, 10):>10.4f}{kept:>15.1%}{cosines.min():>14.6f}{cosines.mean():>10.6f}",
            flush=True,
        )


def in_turn(works: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat of each work."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - started)
    return taken


def rate(kind: torch.dtype) -> float:
    """Operations a second of matrix products, the best of two shapes and ten tries."""
    best = 0.0
    for rows, inner, columns in [(2048, 384, 1536), (2048, 2048, 2048)]:
        left, right = torch.randn(rows, inner).to(kind), torch.randn(columns, inner).to(kind)
        with torch.inference_mode():
            taken = in_turn({"product": lambda left=left, right=right: nn.functional.linear(left, right)}, 10)
        best = max(best, 2 * rows * inner * columns / min(taken["product"]))
    return best


def processor() -> str:
    """The processor's name, as Linux tells it."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in told if line.startswith("model name")), "a processor")


if __name__ == "__main__":
    main()
