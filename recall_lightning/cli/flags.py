"""Settings in the forms that a config and a command line have."""

import json
from collections.abc import Mapping
from typing import Any


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """Words of a command line, of dotted keys and plain values."""
    return [word for key, value in settings.items() for word in (f"--{key}", _as_flag(value))]


def as_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A config's nested settings, of dotted keys; a class with arguments of its own gets its `class_path`."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, leaf = key.split(".")
        inside = nested
        for parent in parents:
            inside = inside.setdefault(parent, {})
        has_arguments = any(other.startswith(f"{key}.") for other in settings)
        inside[leaf] = {"class_path": value} if has_arguments else value
    return nested


def _as_flag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
