"""How to build an object again: its class and the arguments it was built with.

A checkpoint stores recipes (plain dicts, so `weights_only=True` loads them) where pickled objects would tie it to one
version of the code. The form is LightningCLI's own, `class_path` with `init_args`.
"""

import importlib
import inspect
from typing import Any, Self

from recall_lightning.errors import InputError


class Recipe:
    """Base of the parts that a config chooses by `class_path`; remembers the arguments it was built with."""

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        # bind_partial: copy and pickle make the object without arguments, and restore `_arguments` with the rest
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()  # written out, so that a later version's other defaults don't change an old checkpoint
        arguments = dict(list(bound.arguments.items())[1:])
        for name, parameter in bound.signature.parameters.items():  # `*args, **kwargs` are no arguments of their own
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                del arguments[name]
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                arguments |= arguments.pop(name)
        object.__setattr__(self, "_arguments", arguments)
        return self

    def recipe(self) -> dict[str, Any]:
        """Plain types only: `{"class_path": ..., "init_args": {...}}`, nested where an argument is a `Recipe`."""
        arguments = {name: _plain(value) for name, value in self._arguments.items()}
        return {"class_path": f"{type(self).__module__}.{type(self).__qualname__}", "init_args": arguments}


def build(recipe: dict[str, Any]) -> Any:
    """Build the object that `recipe` describes.

    Raises:
        InputError: if the class can't be imported or isn't a `Recipe` (a checkpoint must not call arbitrary code).
    """
    module, _, name = recipe["class_path"].rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: no module before the dot
        raise InputError(
            f"class {recipe['class_path']} can't be imported ({error}): install the package that defines it"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Recipe)):
        raise InputError(f"class {recipe['class_path']} is no part of a recall model: derive it from Recipe")
    arguments = {name: _built(value) for name, value in recipe["init_args"].items()}
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise InputError(f"{recipe['class_path']}: {error}: use the package's version that wrote this") from error
    return cls(**arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, Recipe):
        return value.recipe()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if value is None:
        return None
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)  # numpy's float64 is a float, but no plain one
    raise InputError(f"{value!r} can't be written into a checkpoint: use plain values or a Recipe")


def _built(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"class_path", "init_args"}:
        return build(value)
    if isinstance(value, dict):
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_built(item) for item in value]
    return value
