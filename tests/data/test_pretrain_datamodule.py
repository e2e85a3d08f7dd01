"""Which texts an encoder is pretrained on, and by which it is judged."""

import numpy as np
import pytest

from recall_lightning import InputError, PretrainDataModule, RecallDataModule
from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.data.splits import Splits

TITLES = {f"item{n}": f"{n:03d} film" for n in range(60)}
NEW_ITEMS = Splits("new_items", share=0.2)


def write(folder, titles=TITLES):
    ids = list(titles)
    rows = [f"user{u},{ids[(u * 7 + n) % len(ids)]},{n}\n" for u in range(30) for n in range(12)]
    (folder / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    described = [f"{item},{title}\n" for item, title in titles.items()]
    (folder / "items.csv").write_text("item_id,title\n" + "".join(described))
    return Tabular(str(folder / "ratings.csv"), str(folder / "items.csv"))


@pytest.fixture
def data(tmp_path, tiny_encoder):
    """Makes a data module that was set up, of sixty films or of others."""

    def make(titles=TITLES, kind=PretrainDataModule, **settings):
        module = kind(write(tmp_path, titles), "{title}", str(tiny_encoder), batch_size=8, **settings)
        module.setup()
        return module

    return make


def ids(data, rows):
    return {data.catalogue.ids[row] for row in rows}


def read(data):
    """Items of every text in the batches of an epoch, and of the validation."""
    texts = {bytes(data.tokens.values[a:b]): data.catalogue.ids[row] for row, (a, b) in enumerate(spans(data))}
    inside = slice(len(data.tokens.frame.prefix), -len(data.tokens.frame.suffix))
    seen = []
    for loader in (data.train_dataloader(), data.val_dataloader()):
        seen.append(set())
        for batch in loader:
            for text, present in zip(batch.tokens.ids, batch.tokens.mask, strict=True):
                seen[-1].add(texts[bytes(text[present][inside].numpy().astype(np.int32))])
    return seen


def spans(data):
    return zip(data.tokens.offsets[:-1], data.tokens.offsets[1:], strict=True)


def test_every_text_is_either_trained_on_or_held_for_validation(data):
    module = data()
    train, validation = read(module)
    assert train | validation == set(TITLES)
    assert not train & validation
    assert train == ids(module, module.train_rows)
    assert len(validation) == pytest.approx(6, abs=4)


def test_items_that_the_split_holds_out_are_never_read(data):
    recall, module = data(kind=RecallDataModule, splits=NEW_ITEMS), data(splits=NEW_ITEMS)
    held = ids(recall, np.flatnonzero(recall.split.held_items))
    train, validation = read(module)
    assert len(held) > 10
    assert train | validation == set(TITLES) - held
    assert validation  # what is held for validation is not what the split has held out already


def test_a_text_is_held_by_its_items_id_whatever_else_there_is(data):
    few = data(dict(list(TITLES.items())[:40]))
    held = ids(few, few.val_rows)
    many = data(TITLES)
    assert ids(many, many.val_rows) & set(list(TITLES)[:40]) == held
    other = data(TITLES, seed=1)
    assert ids(other, other.val_rows) != ids(many, many.val_rows)


def test_no_text_of_the_validation_equals_one_that_is_trained_on(data):
    module = data()
    held, trained = sorted(ids(module, module.val_rows)), sorted(ids(module, module.train_rows))
    module = data(TITLES | {held[0]: TITLES[trained[0]]})
    assert ids(module, module.val_rows) == set(held[1:])
    assert ids(module, module.train_rows) == set(trained)


def test_texts_of_the_same_tokens_have_the_same_number_in_a_batch(data):
    module = data(TITLES | {"item5": "a film of letters b", "item6": "a film of letters c"}, max_text_tokens=8)
    module.train_rows = np.array([module.catalogue.row(f"item{n}") for n in (7, 5, 6)])
    (batch,) = module.train_dataloader()
    assert batch.alike.unique().numel() == 2
    assert batch.n_tokens == int(batch.tokens.mask.sum())
    assert batch.counts == {"texts": 3, "tokens": batch.n_tokens}


def test_texts_of_a_batch_come_by_length(data):
    module = data({f"item{n}": "ab" * (1 + n % 9) + f" {n:03d}" for n in range(60)}, sort_by_length=False)
    for batch in module.train_dataloader():
        lengths = batch.tokens.mask.sum(1).tolist()
        assert lengths == sorted(lengths)
        assert len(set(lengths)) > 1


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, r"^data\.validation_share is 0\.0: give more than 0 and less than 1$"),
        (1.0, r"^data\.validation_share is 1\.0: give more than 0"),
        (1e-9, r"^data\.validation_share is 1e-09: no text is held for validation\. Raise it$"),
        (1 - 1e-9, r"^data\.validation_share is 0\.999999999: no text is left to train on\. Lower it$"),
    ],
)
def test_a_share_that_leaves_a_part_empty_is_told(data, share, told):
    with pytest.raises(InputError, match=told):
        data(validation_share=share)
