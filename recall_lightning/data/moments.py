"""Moments in configs and messages."""

import re
from datetime import UTC, datetime

from recall_lightning.errors import InputError


def moment(text: str | float, key: str) -> float:
    """Seconds of a moment in a config: a number, or ISO 8601 (UTC where it says no zone).

    Raises:
        InputError: if it is neither; the message names the key.
    """
    if isinstance(text, (int, float)) or re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip()):
        return float(text)
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{key} is {text!r}, neither seconds nor ISO 8601. Write 978300760 or 2000-12-31") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def readable(seconds: float) -> str:
    """A moment as a person reads it, where it can be a date at all."""
    if 2**26 <= seconds < 2**35:  # 1972 to 3058; less is rather a counter
        return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{float(seconds):.15g}"
