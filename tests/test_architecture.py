"""The rules of docs/architecture.md that an import can break."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import recall_lightning

ROOT = Path(recall_lightning.__file__).parent
NAME = ROOT.name
FILES = sorted(ROOT.rglob("*.py"))
TENSORS_ALONE = ["models", "losses", "softmax", "contrastive", "fusion", "regularizers", "metrics", "meta"]


def module_of(file):
    """`.../recall_lightning/data/batches.py` -> `data.batches`; the package itself is an empty string."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source):
    """Full names of all that a source imports, inside functions and `TYPE_CHECKING` too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(name):
    """`recall_lightning.data.batches.TrainBatch` -> `data`; None outside of the package."""
    first, *rest = name.split(".")
    return rest[0] if first == NAME and rest else None


IMPORTS = {module_of(file): imports_of(file.read_text(encoding="utf-8")) for file in FILES}
PARTS = {module.split(".")[0] for module in IMPORTS if module}


def imported_by(part):
    """`(module, imported name)` of every import in a part of the package."""
    return [(module, name) for module, names in IMPORTS.items() for name in names if module.split(".")[0] == part]


def test_imports_are_read_as_python_means_them():
    source = "import os.path\nfrom recall_lightning.data import batches as b, ragged\ndef f():\n    import json\n"
    expected = {"os.path", "recall_lightning.data.batches", "recall_lightning.data.ragged", "json"}
    assert imports_of(source) == expected
    assert {part_of(name) for name in expected} == {None, "data"}
    assert len(IMPORTS) == len(FILES) > 50
    assert set(TENSORS_ALONE) < PARTS


@pytest.mark.parametrize("part", TENSORS_ALONE)
def test_what_computes_knows_tensors_alone(part):
    assert imported_by(part)
    for module, name in imported_by(part):
        assert name.split(".")[0] not in {"lightning", "pathlib", "os", "io", "logging", "yaml"}, f"{module}: {name}"
        allowed = {None, part, "models", "losses", "softmax", "regularizers", "metrics", "recipe", "errors"}
        assert part_of(name) in allowed, f"{module}: {name}"


def test_data_stands_beside_models_and_knows_neither_them_nor_what_is_done_with_a_batch():
    assert imported_by("data")
    for module, name in imported_by("data"):
        assert part_of(name) in {None, "data", "recipe", "errors", "pretrained", "whole"}, f"{module}: {name}"


def test_modules_know_nothing_of_what_shows_serves_or_compares_them():
    assert imported_by("modules")
    above = {"cli", "callbacks", "retrieval", "serving", "baselines", "coldstart"}
    for module, name in imported_by("modules"):
        assert part_of(name) not in above, f"{module}: {name}"


def test_nothing_but_the_program_knows_the_commands():
    for module, names in IMPORTS.items():
        if module not in {"__main__"} and not module.startswith("cli"):
            assert not any(part_of(name) == "cli" for name in names), module


def test_there_are_no_cycles_between_parts():
    graph = {part: {part_of(name) for _, name in imported_by(part)} - {None, part} for part in PARTS}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert order.index("models") < order.index("losses") < order.index("modules") < order.index("cli")
    assert order.index("modules") < order.index("retrieval") < order.index("serving") < order.index("cli")


def test_serving_puts_a_recommender_to_use_and_nothing_else():
    assert imported_by("serving")
    for module, name in imported_by("serving"):
        assert part_of(name) in {None, "serving", "retrieval", "data", "errors"}, f"{module}: {name}"


@pytest.mark.parametrize("code", [
    "import recall_lightning",
    "import recall_lightning.cli.main",
    *(
        f"from recall_lightning.cli.main import main\ntry: main({given})\nexcept SystemExit as e: assert e.code == 0"
        for given in (["--help"], ["serve", "--help"])
    ),
    "from recall_lightning.cli.main import main\nmain(['fit', '--help'])",
])  # fmt: skip
def test_the_program_answers_before_torch_is_loaded(code):
    heavy = {"torch", "lightning", "transformers", "numpy", "fastapi"}
    told = f"{code}\nimport sys\nprint(sorted({heavy} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def test_every_public_name_can_be_imported():
    for name in recall_lightning.__all__:
        assert getattr(recall_lightning, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'RecalLoss'"):
        recall_lightning.RecalLoss  # noqa: B018
