"""The data module: from a user's files to batches, with nothing that is held back in what is trained on."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast

from recall_lightning.data.batches import log_batch_chance
from recall_lightning.data.datamodule import RecallDataModule, Splits, default_cache_dir
from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.errors import InputError
from recall_lightning.recipe import build

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "heat", "alien", "brazil", "dune", "tron", "crime"]
ITEMS = "item_id,title,genre\n1,Heat,crime\n2,Alien,\n3,Brazil,\n4,Dune,\n5,Tron,\n"
RATINGS = """user_id,item_id,timestamp,weight
ann,1,10,5
ann,2,11,4
ann,3,12,5
ann,4,13,2
bob,5,10,1
bob,3,11,5
cid,2,10,5
cid,2,11,5
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of an encoder, as far as its tokenizer goes."""
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(WORDS)}))
    return str(folder)


@pytest.fixture
def data(tmp_path, encoder):
    """Makes a data module of the typed files; `ratings` and `items` replace them."""

    def make(*, ratings=RATINGS, items=ITEMS, text="{title}. {genre}", **options):
        (tmp_path / "ratings.csv").write_text(ratings)
        (tmp_path / "items.csv").write_text(items)
        reader = Tabular(str(tmp_path / "ratings.csv"), str(tmp_path / "items.csv"))
        return RecallDataModule(reader, text, encoder, cache_dir=str(tmp_path / "cache"), **options)

    return make


def prepared(module):
    module.setup()
    return module


def histories(module):
    made = module.interactions
    return {user: [module.catalogue.ids[i] for i in made.history(u)] for u, user in enumerate(made.user_ids)}


def test_setup_reads_splits_and_tokenizes(data):
    module = prepared(data())
    assert histories(module) == {"ann": ["1", "2", "3", "4"], "bob": ["5", "3"], "cid": ["2"]}
    assert module.catalogue.texts == ["Heat. crime", "Alien", "Brazil", "Dune", "Tron"]
    assert module.tokens.lengths.tolist() == [5, 3, 3, 3, 3]  # the full stop is a token
    assert (len(module.split.train), len(module.split.validation), len(module.split.test)) == (4, 1, 2)
    assert len(module.sequences) == 1


def test_setup_reads_once(data, tmp_path):
    module = prepared(data())
    (tmp_path / "ratings.csv").unlink()
    module.setup("test")


def test_nothing_that_is_held_back_is_counted_or_trained_on(data):
    module = prepared(data(n_negatives=0))
    counts = dict(zip(module.catalogue.ids, module.counts.tolist(), strict=True))
    assert counts == {"1": 1, "2": 2, "3": 0, "4": 0, "5": 1}  # ann's 3 and 4 and bob's 3 are held back
    (batch,) = module.train_dataloader()
    assert {module.catalogue.ids[i] for i in batch.items.tolist()} == {"1", "2"}
    assert {module.catalogue.ids[i] for i in batch.known[batch.known >= 0].tolist()} == {"1", "2"}


def test_what_is_held_back_changes_nothing_of_training(data):
    def training(ratings):
        module = prepared(data(ratings=ratings, n_negatives=3))
        (batch,) = module.train_dataloader()
        return [module.counts.tolist(), *(getattr(batch, f).tolist() for f in ("items", "history", "targets", "log_q"))]

    assert training(RATINGS) == training(RATINGS.replace("ann,3,12,5\nann,4,13,2", "ann,5,12,5\nann,3,13,2"))


def test_validation_and_test_ask_for_what_came_next(data):
    module = prepared(data())

    def asked(loader):
        ids = np.array([*module.catalogue.ids, ""])
        return {
            module.interactions.user_ids[user]: ("".join(ids[history]), "".join(ids[known]), "".join(ids[targets]))
            for batch in loader
            for user, history, known, targets in zip(
                batch.users, batch.history, batch.known, batch.targets, strict=True
            )
        }  # fmt: skip

    assert asked(module.val_dataloader()) == {"ann": ("12", "12", "3")}
    assert asked(module.test_dataloader()) == {"ann": ("123", "123", "4"), "bob": ("5", "5", "3")}
    assert asked(module.predict_dataloader()) == {
        "ann": ("1234", "1234", ""), "bob": ("53", "53", ""), "cid": ("2", "2", "")
    }  # fmt: skip


def test_evaluation_batches_hold_as_many_users_as_asked_for(data):
    module = prepared(data(eval_batch_size=1))
    assert [len(batch.users) for batch in module.test_dataloader()] == [1, 1]


def of_process(module, rank, world_size):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, strategy=strategy, current_epoch=0)
    return module


def test_every_user_is_asked_about_on_one_process(data):
    module = prepared(data())
    shares = [list(of_process(module, rank, 2).test_dataloader().sampler) for rank in (0, 1)]
    assert shares == [[0], [1]]


def test_more_processes_than_users_to_ask_about_are_refused(data):
    with pytest.raises(InputError, match=r"3 processes share 2 case.*Start fewer"):
        of_process(prepared(data()), 0, 3).test_dataloader()


def test_chances_are_of_the_training_part_and_its_batches(data):
    module = prepared(data(batch_size=2, n_negatives=1))
    (batch,) = module.train_dataloader()
    share = {"1": 1 / 4, "2": 2 / 4, "3": 0, "4": 0, "5": 1 / 4}
    expected = [
        np.log(1 - (1 - share[module.catalogue.ids[i]]) ** (4 / 1 * 2) * (1 - 1 / 5)) for i in batch.items.tolist()
    ]
    assert batch.log_q.tolist() == pytest.approx(expected, rel=1e-5)


def test_interactions_of_little_weight_are_left_out(data):
    assert histories(prepared(data(min_weight=4))) == {"ann": ["1", "2", "3"], "bob": ["3"], "cid": ["2"]}


def test_users_with_few_interactions_are_left_out_an_item_counting_once(data):
    assert set(histories(prepared(data(min_interactions=2)))) == {"ann", "bob"}
    assert set(histories(prepared(data(min_interactions=3)))) == {"ann"}


def test_interactions_are_counted_after_those_of_little_weight_are_gone(data):
    assert set(histories(prepared(data(min_interactions=2, min_weight=4)))) == {"ann"}


def test_an_item_without_text_is_an_error_or_left_out_as_asked(data):
    items = ITEMS.replace("4,Dune,", "4,,").replace("5,Tron,\n", "")
    with pytest.raises(InputError, match=r"ratings\.csv: no text for 2 item\(s\): '4', '5'.*data\.missing_text: drop"):
        data(items=items).setup()
    module = prepared(data(items=items, missing_text="drop"))
    assert histories(module) == {"ann": ["1", "2", "3"], "bob": ["3"], "cid": ["2"]}


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"min_weight": 6}, {}),
        ({"min_interactions": 5}, {}),
        ({"missing_text": "drop"}, {"items": "item_id,title,genre\n9,Heat,\n"}),
    ],
)
def test_filters_that_leave_no_user_are_told(data, options, change):
    with pytest.raises(
        InputError, match=r"ratings\.csv: no user is left of 3 after filtering .*Lower data\.min_weight"
    ):
        data(**options, **change).setup()


def test_a_least_weight_without_weights_is_told(data):
    with pytest.raises(InputError, match=r"^data\.min_weight: ratings\.csv has no weights\. Add a column, or drop"):
        data(ratings="user_id,item_id\nann,1\nann,2\n", min_weight=4).setup()


def test_a_template_of_other_columns_is_told(data):
    with pytest.raises(InputError, match=r"items\.csv: no column 'year', which data\.text '{title} {year}' names"):
        data(text="{title} {year}").setup()


def test_users_too_short_to_train_on_are_told_when_training_starts(data):
    module = prepared(data(ratings="user_id,item_id\nann,1\nann,2\nann,3\nbob,1\n"))
    with pytest.raises(InputError, match=r"^data: no user has two interactions to train on .* Give longer histories"):
        module.train_dataloader()
    assert len(list(module.test_dataloader())) == 1


@pytest.mark.parametrize(
    ("key", "value", "least"),
    [
        ("batch_size", 0, 1), ("eval_batch_size", 0, 1), ("max_history", 0, 1), ("max_text_tokens", 3, 4),
        ("n_negatives", -1, 0), ("num_workers", -1, 0), ("max_encoded_items", 0, 1), ("history_tokens", 3, 4),
        ("min_interactions", 0, 1), ("min_users", 0, 1), ("seed", -1, 0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_names_its_key_before_any_file_is_read(key, value, least):
    with pytest.raises(InputError, match=rf"^data\.{key} is {value}: give {least} or more$"):
        RecallDataModule(Tabular("no.csv", "no.csv"), "{title}", "no", **{key: value})


def test_a_folder_without_an_encoder_is_told(data, tmp_path):
    module = data()
    module.encoder = str(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no folder .*gone.*recall-lightning fetch minilm"):
        module.setup()


def test_ties_follow_the_file_or_a_hash_as_asked(data):
    def history(ties, turn):
        items = "item_id,title,genre\n" + "".join(f"{i},Heat,\n" for i in range(20))
        rows = [f"ann,{i},7\n" for i in range(20)][::turn]
        return histories(prepared(data(ratings="user_id,item_id,timestamp\n" + "".join(rows), items=items, ties=ties)))

    assert history("row", 1)["ann"] == history("row", -1)["ann"][::-1] == [str(i) for i in range(20)]
    assert history("shuffle", 1) == history("shuffle", -1) != history("row", 1)


def test_a_long_history_is_cut_into_sequences(data):
    module = prepared(data(ratings="user_id,item_id\n" + "".join(f"ann,{i}\n" for i in (1, 2, 3, 4, 5)), max_history=1))
    assert module.sequences.tolist() == [[0, 2], [1, 3]]


def test_what_newcomers_take_is_trained_alone_and_its_chances_are_those(data):
    rows = "".join(f"ann,{i}\n" for i in (1, 2, 3, 4, 5))
    module = prepared(data(ratings="user_id,item_id\n" + rows, train_first=2))
    assert module.sequences.tolist() == [[0, 2]]
    assert module.counts.tolist() == [1, 1, 1, 0, 0]  # two are held out
    expected = log_batch_chance(np.array([1, 1, 0, 0, 0]), 2 * module.batch_size, 0)
    assert module.train_dataloader().collate_fn.log_q.tolist() == expected.tolist()


def test_batches_have_the_share_of_sequences_cut_that_was_asked_for(data):
    rows = "".join(f"ann,{i}\n" for i in (1, 2, 3, 4, 5))
    for share, n_rows in ((0.0, 1), (1.0, 2)):  # ann has two targets in training
        (batch,) = prepared(data(ratings="user_id,item_id\n" + rows, cut_share=share)).train_dataloader()
        assert len(batch.history) == n_rows


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"cut_share": 1.5}, "data.cut_share is 1.5: give a share"),
        ({"train_first": 1}, "data.train_first is 1: give 2 or more"),
        ({"cut_share": 0.5, "history_tokens": 16}, r"data\.cut_share is 0\.5, but .* read as text .* set it to 0"),
    ],
)
def test_values_out_of_their_range_are_refused(data, option, told):
    with pytest.raises(InputError, match=told):
        data(**option)


def test_texts_are_cut_and_histories_joined_as_asked(data):
    module = prepared(data(max_text_tokens=4, history_tokens=16))
    assert module.tokens.lengths.max() == 4
    (batch,) = module.test_dataloader()
    ann = module.interactions.user_ids[int(batch.users[0])] != "ann"
    ids = batch.history_tokens.ids[int(ann)]
    words = [WORDS[i] for i in ids.tolist()]
    assert words == ["[CLS]", "brazil", "[SEP]", "alien", "[SEP]", "heat", "[UNK]", "[SEP]"]


def test_where_a_tower_reads_text_a_batch_draws_one_item_a_user_by_popularity(data):
    plain, text = (prepared(data(history_tokens=n)) for n in (None, 16))
    each = len(plain.split.train) / len(plain.sequences)
    for made, drawn in ((plain, each * plain.batch_size), (text, text.batch_size)):
        expected = log_batch_chance(made.counts, drawn, 0)
        assert made.train_dataloader().collate_fn.log_q.tolist() == expected.tolist()
    assert each != 1


def test_hyperparameters_are_plain_and_build_the_reader_again(data, tmp_path):
    kept = data(splits=Splits(), n_negatives=3).hparams
    torch.save(dict(kept), tmp_path / "kept.pt")
    read = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert (read["n_negatives"], read["splits"]) == (3, asdict(Splits()))
    assert build(read["reader"]).interactions == tmp_path / "ratings.csv"


def test_tokens_are_kept_in_the_cache_folder(data, tmp_path, monkeypatch):
    prepared(data())
    assert len(list((tmp_path / "cache").glob("tokens-*.npy"))) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "recall-lightning"
