"""Libraries that only some contenders need."""

import importlib
from typing import Any

from recall_lightning.baselines.base import UnavailableError


def library(name: str, *, extra: str = "compare") -> Any:
    """Import a module of an optional library.

    Args:
        name: of the module, such as `scipy.sparse`.
        extra: the extra of this package that installs it.

    Raises:
        UnavailableError: if it isn't installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = {"sklearn": "scikit-learn", "sentence_transformers": "sentence-transformers"}
        missing = name.partition(".")[0]
        raise UnavailableError(
            f"needs {package.get(missing, missing)}: pip install 'recall-lightning[{extra}]'"
        ) from error
