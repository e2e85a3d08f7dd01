"""Items as they are posted, as a catalogue."""

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.template import Template
from recall_lightning.serving.bodies import AddRequest, NewItem
from recall_lightning.serving.problems import Problem, RequestError

_TITLES = ("title", "name")  # the fields that people are shown, as of a table of items


def posted_items(request: AddRequest, template: str) -> Catalogue:
    """The catalogue of a request.

    Args:
        request: items with a text, or with the fields of one.
        template: how fields make a text; a missing one drops its part.

    Raises:
        RequestError: if an item has no text, or a field that makes none.
    """
    made = Template(template)
    texts, problems = [], []
    for at, item in enumerate(request.items):
        fields = item.fields or {}
        unknown = [name for name in fields if name not in {*made.fields, *_TITLES}]
        if unknown:
            where = f"body.items[{at}].fields.{unknown[0][:60]}"
            problems.append(Problem(where, "a field that makes no text", f"give {', '.join(made.fields)}"))
        text = (item.text or "").strip() or made.render({name: fields.get(name) for name in made.fields})
        if not text and not unknown:
            problems.append(
                Problem(f"body.items[{at}]", "no text", "describe the item, since the model knows it by that")
            )
        texts.append(text)
    if problems:
        raise RequestError(422, *problems)
    titles = [_title(item, text) for item, text in zip(request.items, texts, strict=True)]
    return Catalogue([item.item_id for item in request.items], texts, titles, template)


def _title(item: NewItem, text: str) -> str:
    fields = item.fields or {}
    return item.title or next((fields[name] for name in _TITLES if fields.get(name)), text)
