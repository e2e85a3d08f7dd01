"""What many tests need: a tiny encoder and the real one, typed tables, and the real MovieLens-100K."""

import os
import string
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that asks a hub is a bug
# equal code is tested with equal examples, however busy the machine is; HYPOTHESIS_PROFILE=default looks for new ones
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


# what takes longest begins first, lest one process works on it while the others have ended
LONG = [
    "test_several_processes.py", "test_peers.py", "test_tune.py", "test_larger_than_memory.py", "test_export_onnx.py",
    "test_going_on.py", "test_back_ends.py", "test_compiled.py", "test_recall.py", "test_main.py",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)  # tiny tensors: a second thread only waits


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """The folder of a BERT of 2 layers, 32 wide, random weights, that spells words letter by letter."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    letters = list(string.ascii_lowercase + string.digits + string.punctuation)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def movielens(tmp_path_factory) -> Path:
    """MovieLens-100K, fetched as a user would."""
    from recall_lightning.data.fetching import fetch
    from recall_lightning.data.sources import KNOWN

    return fetch(KNOWN["movielens-100k"], tmp_path_factory.mktemp("downloads"))


TYPED_ITEMS = """item_id,title,year,genres
heat,Heat,1995,"Action, Crime"
alien,Alien,1979,"Horror, Sci-Fi"
brazil,Brazil,1985,"Comedy, Sci-Fi"
fargo,Fargo,1996,"Crime, Thriller"
007,"From Russia, with Love",1963,Action
"""

TYPED_INTERACTIONS = """user_id,item_id,timestamp
ann,heat,1
ann,alien,2
ann,brazil,3
ann,fargo,4
bob,alien,1
bob,brazil,2
bob,007,3
cy,007,5
cy,heat,6
cy,fargo,7
cy,alien,8
"""


@pytest.fixture(scope="session")
def write_typed():
    """Writes a user's own two tables into a folder."""

    def write(folder: Path) -> Path:
        (folder / "items.csv").write_text(TYPED_ITEMS)
        (folder / "interactions.csv").write_text(TYPED_INTERACTIONS)
        return folder

    return write


@pytest.fixture
def typed(tmp_path, write_typed) -> Path:
    """A folder with a user's own two tables."""
    return write_typed(tmp_path)


@pytest.fixture(scope="session")
def train_typed(write_typed, tiny_encoder):
    """Trains on a user's own two tables."""
    import lightning as L

    from recall_lightning import ItemTower, RecallDataModule, RecallModule, Tabular, TransformerTower
    from recall_lightning.modules.encoder_config import EncoderConfig

    def train(folder, **settings):
        """A module after three epochs on the typed tables, and its checkpoint."""
        write_typed(folder)
        torch.manual_seed(0)
        data = RecallDataModule(
            Tabular(str(folder / "interactions.csv"), str(folder / "items.csv")), "{title} ({year}). {genres}",
            str(tiny_encoder), max_history=3,
        )  # fmt: skip
        encoder = EncoderConfig(str(tiny_encoder))
        module = RecallModule(encoder, TransformerTower(1, 2), ItemTower(residual=True), **settings)
        trainer = L.Trainer(
            max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(module, data)
        trainer.save_checkpoint(folder / "model.ckpt")
        return module, folder / "model.ckpt"

    return train


@pytest.fixture(scope="session")
def minilm(tmp_path_factory) -> str:
    """The folder of the real all-MiniLM-L6-v2, fetched as a user would."""
    from recall_lightning.data.fetching import fetch
    from recall_lightning.data.sources import KNOWN

    return str(fetch(KNOWN["minilm"], tmp_path_factory.mktemp("minilm")))
