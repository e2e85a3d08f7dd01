"""Problems: what is wrong with a request, where, and how to mend it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_MOST = 5  # problems that are told of one request

_WORDS = {  # by the beginning of the validator's name of an error, the first that fits: what is wrong, and the mend
    "missing": ("missing", "add it"),
    "extra_forbidden": ("there is no such field", "drop it, or look up its name at /docs"),
    "json_invalid": ("no JSON", "send one JSON object; /docs shows the fields"),
    "string_unicode": ("no text", "write it in whole characters, without halves of surrogate pairs"),
    "string_too_short": ("empty", "give one character or more"),
    "string": ("no string", 'write it in quotes: ids such as 7 are "7"'),
    "int": ("no whole number", "give one, without quotes"),
    "bool": ("neither true nor false", "give one of them, without quotes"),
    "list": ("no list", "give one, in brackets"),
    "dict": ("no object", "give one, in braces"),
    "model": ("no object", "give one, in braces"),
    "too_short": ("an empty list", "give one or more"),
    "greater_than_equal": ("below 1", "give 1 or more"),
}
_KINDS = {"NoneType": "null", "bool": "a boolean", "int": "a number", "float": "a number", "str": "a string",
          "list": "a list", "dict": "an object", "bytes": "no JSON"}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the place in the request, such as `body.users[0].history`.
        what: what is wrong with it.
        mend: what to do about it.
    """

    where: str
    what: str
    mend: str


class RequestError(Exception):
    """A request can't be answered, for reasons that its sender can mend.

    Args:
        status: the HTTP status, from 400 up.
        problems: one or more.
    """

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(problems[0].what)
        self.status, self.problems = status, problems


def body_of(problems: Sequence[Problem]) -> dict[str, Any]:
    """The body of the answer: the first few problems, and how many more there are."""
    body: dict[str, Any] = {"errors": [asdict(problem) for problem in problems[:_MOST]]}
    if len(problems) > _MOST:
        body["more_errors"] = len(problems) - _MOST
    return body


def problem_of(error: Mapping[str, Any]) -> Problem:
    """What a validator found, in our words."""
    kind, given = error["type"], error.get("ctx") or {}
    what, mend = next((words for start, words in _WORDS.items() if kind.startswith(start)), (error["msg"], "see /docs"))
    if kind == "json_invalid":
        return Problem("body", f"{what}: {given['error']} at character {error['loc'][-1]}", mend)
    if isinstance(error["input"], bytes):
        return Problem(
            "body", "not sent as JSON", "send one JSON object, with the header Content-Type: application/json"
        )
    if "type" in kind:
        got = type(error["input"]).__name__
        what = f"{what}, but {_KINDS.get(got, got)}"
    return Problem(where_of(error["loc"]), what, given.get("mend", mend))


def where_of(place: Sequence[str | int]) -> str:
    """`("body", "users", 0, "history")` as `body.users[0].history`; long names are cut."""
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in place)
    return named.removeprefix(".")
