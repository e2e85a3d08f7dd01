"""Exports: what other programs can use of a checkpoint, in a folder that is written whole or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from recall_lightning.errors import InputError
from recall_lightning.retrieval.back_ends import is_installed
from recall_lightning.retrieval.export.embeddings import write_embeddings
from recall_lightning.retrieval.export.graphs import write_graphs
from recall_lightning.retrieval.export.nearest import Kind, write_index
from recall_lightning.retrieval.export.ranking import left_out
from recall_lightning.retrieval.export.sentence_transformer import write_sentence_transformer
from recall_lightning.retrieval.recommender import Recommender
from recall_lightning.whole import folder_written_whole

Write = Callable[[Recommender, Path, Callable[[str], None]], None]
FORMATS: dict[str, Write] = {
    "embeddings": write_embeddings,
    "sentence-transformers": write_sentence_transformer,
    "onnx": write_graphs,
    "faiss": write_index,
}
NEEDS = {"onnx": ("export", ["onnx", "onnxscript", "onnxruntime"]), "faiss": ("index", ["faiss"])}
CONTENTS = "export.json"  # of which model a folder holds which formats, and where it cuts texts and histories


def check(formats: Sequence[str], folder: Path) -> None:
    """Refuse, before anything is loaded, what can't be exported.

    Raises:
        InputError: if a format is unknown or its library isn't installed, or the folder holds files that no export
            wrote.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"--format {name}: no such format. Give one or several of {', '.join(FORMATS)}")
        extra, libraries = NEEDS.get(name, ("", []))
        missing = [library for library in libraries if not is_installed(library)]
        if missing:
            raise InputError(
                f"--format {name} needs {' and '.join(missing)}. Install it: pip install 'recall-lightning[{extra}]'"
            )
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONTENTS).is_file()):
        raise InputError(f"--to {folder}: it holds what no export wrote. Give a new or empty folder")


def export(
    recommender: Recommender, formats: Sequence[str], folder: Path, tell: Callable[[str], None], *, index: Kind = "flat"
) -> None:
    """Write a model and its items in some formats.

    An earlier export in the folder is replaced; formats that are not asked for again stay, being of the same model and
    items.

    Args:
        recommender: of a checkpoint.
        formats: keys of `FORMATS`.
        folder: made if it isn't there; else as of `check`.
        tell: is told, line by line, what was written.
        index: the kind of `faiss`.

    Raises:
        InputError: as of `check`; if the folder holds other formats of another model; or a format can't be written.
    """
    check(formats, folder)
    model, former, trained = _digest(recommender), _contents(folder), recommender.background
    kept = [name for name in former.get("formats", []) if name not in formats]
    if kept and former["model"] != model:
        raise InputError(
            f"--to {folder}: it holds {', '.join(kept)} of another checkpoint or other items, or encoded "
            f"by another back end, which would not go with this. Add --format {' '.join(kept)}, or give another folder"
        )
    with folder_written_whole(folder.resolve()) as made:
        for name in dict.fromkeys(formats):
            write = partial(write_index, kind=index) if name == "faiss" else FORMATS[name]
            write(recommender, made, tell)
        if kept:
            shutil.copytree(folder, made, dirs_exist_ok=True, copy_function=_copy_if_missing)
        contents = {
            "model": model, "formats": [name for name in FORMATS if name in {*kept, *formats}],
            "max_text_tokens": trained.max_text_tokens, "max_history": trained.max_history,
        }  # fmt: skip
        (made / CONTENTS).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    if told := left_out(recommender):
        tell(told)


def _contents(folder: Path) -> dict[str, Any]:
    path = folder / CONTENTS
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return contents


def _copy_if_missing(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy2(source, target)


def _digest(recommender: Recommender) -> str:
    """A hash of the weights, the items that are ranked and what encoded them: equal ones make equal exports."""
    n, pool = recommender.n_ranked, recommender.pool
    described = [pool.ids[:n], pool.texts[:n], recommender.encode_with]
    digest = hashlib.blake2b(json.dumps(described).encode(), digest_size=16)
    for name, weight in sorted(recommender.module.state_dict().items()):
        if isinstance(weight, Tensor):
            digest.update(name.encode() + weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
