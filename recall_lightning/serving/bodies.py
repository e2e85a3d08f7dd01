"""Bodies: what requests hold, and answers."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from recall_lightning.serving.limits import Limits
from recall_lightning.serving.problems import Problem


def _threshold(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if number or value is None or value == "auto":
        return value
    raise PydanticCustomError(
        "threshold", 'neither a finite number nor "auto"', {"mend": 'give a number such as 0.4, "auto", or null'}
    )


def _whole(text: str) -> str:
    """JSON can hold halves of surrogate pairs, which no text has."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("string_unicode", "no text") from error
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Body(BaseModel):
    """A part of a request: nothing is converted, and an unknown field is an error, since it may be a misspelt one."""

    model_config = ConfigDict(strict=True, extra="forbid")


class User(Body):
    """A user to recommend to: known or not, their history is all it takes."""

    user_id: Text = Field(description="comes back in the answer")
    history: list[Text] = Field(
        description="ids of the items that the user met, oldest first; unknown ones are skipped"
    )


class RecommendRequest(Body):
    """Users, and what they may be offered."""

    users: list[User] = Field(min_length=1)
    k: int | None = Field(None, ge=1, description="items a user, by default 50; fewer where candidates run out")
    candidates: list[Text] | None = Field(None, min_length=1, description="ids of the only items to rank; null for all")
    include_known: bool = Field(False, description="whether items of the history may be recommended")
    threshold: Annotated[float | Literal["auto"] | None, BeforeValidator(_threshold)] = Field(
        None, description="of the k items, those alone that score as much; auto: the alpha that validation chose"
    )
    adapt: bool = Field(False, description="adapt to each user first, by a meta-trained checkpoint")

    def problems(self, limits: Limits) -> list[Problem]:
        """What exceeds the limits, and users who stand there twice."""
        found = [
            *_more("body.users", len(self.users), limits.users, "users"),
            *_more("body.k", self.k or 1, limits.k, "items a list"),
            *_more("body.candidates", len(self.candidates or []), limits.candidates, "candidates"),
        ]
        seen: dict[str, int] = {}
        for at, user in enumerate(self.users):
            where = f"body.users[{at}]"
            found += _more(f"{where}.user_id", len(user.user_id), limits.id_characters, "characters")
            found += _more(f"{where}.history", len(user.history), limits.history, "items", "send the newest ones alone")
            if (first := seen.setdefault(user.user_id, at)) != at:
                found.append(Problem(f"{where}.user_id", f"the same as that of users[{first}]", "send each user once"))
        return found


class SimilarRequest(Body):
    """An item, or a text, to find similar items to."""

    item_id: Text | None = Field(None, description="an item of the catalogue; itself it is left out")
    text: Text | None = Field(None, description="any text")
    k: int | None = Field(None, ge=1, description="items, by default 10")

    @model_validator(mode="after")
    def _either(self) -> "SimilarRequest":
        if (self.item_id is None) == (self.text is None):
            raise PydanticCustomError(
                "either", "neither item_id nor text, or both", {"mend": "give one of item_id and text"}
            )
        return self

    def problems(self, limits: Limits) -> list[Problem]:
        """What exceeds the limits."""
        return [
            *_more("body.k", self.k or 1, limits.k, "items a list"),
            *_more("body.item_id", len(self.item_id or ""), limits.id_characters, "characters"),
            *_more("body.text", len(self.text or ""), limits.text_characters, "characters"),
        ]


class NewItem(Body):
    """An item to add, or one that gets another text."""

    item_id: Text = Field(min_length=1)
    text: Text | None = Field(None, description="what the model reads")
    fields: dict[Text, Text] | None = Field(
        None, description="instead of text: columns by name, of which the training's template makes the text"
    )
    title: Text | None = Field(
        None, description="what people are shown; by default the field title or name, or the text"
    )

    @model_validator(mode="after")
    def _either(self) -> "NewItem":
        if (self.text is None) == (self.fields is None):
            raise PydanticCustomError(
                "either", "neither text nor fields, or both", {"mend": "give one of text and fields"}
            )
        return self


class AddRequest(Body):
    """Items to add."""

    items: list[NewItem] = Field(min_length=1)

    def problems(self, limits: Limits) -> list[Problem]:
        """What exceeds the limits, and items that stand there twice."""
        found = _more("body.items", len(self.items), limits.items, "items", "send them in parts")
        seen: dict[str, int] = {}
        for at, item in enumerate(self.items):
            where = f"body.items[{at}]"
            found += _more(f"{where}.item_id", len(item.item_id), limits.id_characters, "characters")
            parts = {"text": item.text, "title": item.title}
            parts |= {f"fields.{name[:60]}": value for name, value in (item.fields or {}).items()}
            for name, value in parts.items():
                found += _more(f"{where}.{name}", len(value or ""), limits.text_characters, "characters")
            if (first := seen.setdefault(item.item_id, at)) != at:
                found.append(Problem(f"{where}.item_id", f"the same as that of items[{first}]", "send each item once"))
        return found


def _more(where: str, count: int, most: int, of_what: str, mend: Text = "") -> list[Problem]:
    if count <= most:
        return []
    mend = mend or "send less, or have the service started with a higher limit"
    return [Problem(where, f"{count:,} {of_what}, and {most:,} are allowed", mend)]


# -- answers: for the documentation at /docs; the service writes them as they are --------------------------------------


class FoundItem(BaseModel):
    """An item of a list."""

    item_id: str
    title: str
    score: float


class UserItems(BaseModel):
    """What a user is recommended, best first."""

    user_id: str
    items: list[FoundItem]
    unknown_items: int = Field(description="items of the history that the service doesn't know: they were skipped")
    by_popularity: bool = Field(description="no usable history: the most popular items, or none under a threshold")


class RecommendAnswer(BaseModel):
    """Users in the order of the request."""

    users: list[UserItems]


class SimilarAnswer(BaseModel):
    """Similar items, nearest first."""

    items: list[FoundItem]


class AddAnswer(BaseModel):
    """What came of adding items: all of them can be recommended and found now."""

    new: int
    changed: int
    unchanged: int
    ranked: int = Field(description="items that are ranked now")


class Health(BaseModel):
    """What is served."""

    status: Literal["ok"]
    checkpoint: str
    ranked: int = Field(description="items that are ranked")
    adapts: bool = Field(description="whether the checkpoint was meta-trained, so that `adapt` may be asked for")
    template: str = Field(description="what makes texts of an item's fields")
    alpha: float | None = Field(description="what the threshold auto stands for")
    limits: dict[str, int]


class Told(BaseModel):
    """What is wrong with a request."""

    where: str
    what: str
    mend: str


class Errors(BaseModel):
    """All that was found wrong, the first few."""

    errors: list[Told]
    more_errors: int = 0
