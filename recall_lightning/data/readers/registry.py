"""All layouts that can be read: each is a file of this folder, found without a list of them."""

import importlib
import inspect
import pkgutil
from types import ModuleType

from recall_lightning.data import readers as _readers
from recall_lightning.data.readers.base import Reader


def readers() -> dict[str, type[Reader]]:
    """The package's readers by class name, in alphabetical order."""
    return readers_of(_readers)


def readers_of(package: ModuleType) -> dict[str, type[Reader]]:
    """The readers that the modules of a package define, by class name, in alphabetical order."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            defined = inspect.isclass(value) and issubclass(value, Reader) and value.__module__ == module.name
            if defined and not inspect.isabstract(value):
                found[name] = value
    return dict(sorted(found.items()))
