"""What a reader gives: interactions, and the items they are with."""

from abc import abstractmethod

from recall_lightning.data.catalogue import Catalogue
from recall_lightning.data.interactions import InteractionLog
from recall_lightning.recipe import Recipe


class Reader(Recipe):
    """A source of interactions and items; a config names one by `data.reader.class_path`."""

    @abstractmethod
    def read_interactions(self) -> InteractionLog:
        """All interactions, in the file's order.

        Raises:
            InputError: if a file is missing or can't be used.
        """

    @abstractmethod
    def read_items(self, template: str) -> Catalogue:
        """All items, with texts by the template (see `Template`).

        Raises:
            InputError: if a file is missing or can't be used.
        """
