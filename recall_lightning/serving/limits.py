"""Limits: how much one request may ask of the service."""

from dataclasses import dataclass, field


def _most(count: int, of_what: str) -> int:
    limit: int = field(default=count, metadata={"of_what": of_what})
    return limit


@dataclass(frozen=True)
class Limits:
    """The most that a request may hold, so that no single one takes memory or time from all others."""

    users: int = _most(256, "users a request")
    k: int = _most(1000, "items a list")
    history: int = _most(1000, "items of a user's history")
    candidates: int = _most(10_000, "candidates a request")
    items: int = _most(1000, "items that are added at once")
    id_characters: int = _most(256, "length of an id")
    text_characters: int = _most(10_000, "length of a text, a title or a field")
    body_bytes: int = _most(4 * 2**20, "size of a request")
    waiting: int = _most(1024, "requests at a time; others are told to come again")
    catalogue: int = _most(1_000_000, "items that the service holds, the training's included")
