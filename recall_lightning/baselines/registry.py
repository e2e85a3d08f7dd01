"""The contenders of a comparison, by the short names that `compare` takes."""

from collections.abc import Sequence

from recall_lightning.baselines.base import Contender
from recall_lightning.baselines.bpr import BPR
from recall_lightning.baselines.ease import EASE
from recall_lightning.baselines.encoder_profile import EncoderProfile
from recall_lightning.baselines.ials import IALS
from recall_lightning.baselines.item_knn import ItemKNN
from recall_lightning.baselines.markov import MarkovChain
from recall_lightning.baselines.popularity import FirstPopularity, LastPopularity, Popularity, RecentPopularity
from recall_lightning.baselines.sasrec import SASRec, TextSASRec
from recall_lightning.baselines.sentence_transformer import FineTunedSentenceTransformer
from recall_lightning.baselines.text_profile import Bm25Profile, TfIdfProfile
from recall_lightning.baselines.user_knn import UserKNN
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.errors import InputError


def contenders(data: RecallDataModule) -> dict[str, Contender]:
    """Every contender, not yet fitted, by its short name, in the order of a table.

    Args:
        data: whose encoder the text contenders take.
    """
    return {
        "popularity": Popularity(),
        "recent": RecentPopularity(),
        "first": FirstPopularity(),
        "last": LastPopularity(),
        "markov": MarkovChain(),
        "item-knn": ItemKNN(),
        "user-knn": UserKNN(),
        "ease": EASE(),
        "ials": IALS(),
        "bpr": BPR(),
        "tf-idf": TfIdfProfile(),
        "bm25": Bm25Profile(),
        "encoder": EncoderProfile(data.encoder),
        "sentence-transformers": FineTunedSentenceTransformer(data.encoder),
        "sasrec": SASRec(),
        "sasrec-text": TextSASRec(data.encoder),
    }


def chosen(data: RecallDataModule, names: Sequence[str]) -> dict[str, Contender]:
    """The contenders of these names, each once.

    Raises:
        InputError: if a name is unknown.
    """
    made = contenders(data)
    if unknown := [name for name in names if name not in made]:
        raise InputError(f"no contender is called {', '.join(map(repr, unknown))}. Choose among {', '.join(made)}")
    return {name: made[name] for name in dict.fromkeys(names)}
