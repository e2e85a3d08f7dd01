"""RecBole's atomic files: tables parted by tabs, with types in the header."""

import pytest

from recall_lightning.data.readers.recbole import RecBole
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError


def written(folder, **files):
    for kind, text in files.items():
        (folder / f"shop.{kind}").write_text(text.replace(" | ", "\t"))
    return folder


INTER = "user_id:token | item_id:token | rating:float | timestamp:float\nann | 007 | 4.5 | 978300760\nbob | 7 | 1 | 5\n"
ITEM = 'item_id:token | title:token_seq | class:token_seq\n007 | From Russia | Action Romance\n7 | "Se7en | Crime\n'
USER = "user_id:token | age:float\nann | 30\n"


def test_interactions_have_weights_and_times(tmp_path):
    log = RecBole(str(written(tmp_path, inter=INTER))).read_interactions()
    assert (log.user_ids, log.item_ids) == (["ann", "bob"], ["007", "7"])
    assert (log.weights.tolist(), log.times.tolist()) == ([4.5, 1], [978300760, 5])


def test_columns_keep_their_names_and_values(tmp_path):
    reader = RecBole(str(written(tmp_path, item=ITEM, user=USER)))
    assert reader.read_items("{title}. {class}").texts == ["From Russia. Action Romance", '"Se7en. Crime']
    assert reader.read_users() == Users(["ann"], {"age": ["30"]})


def test_weights_times_and_users_need_not_be_there(tmp_path):
    reader = RecBole(str(written(tmp_path, inter="user_id:token | item_id:token\nann | 7\n")))
    log = reader.read_interactions()
    assert (log.times, log.weights, reader.read_users()) == (None, None, None)


def test_columns_may_be_named(tmp_path):
    text = "session_id:token | asin:token | clicks:float | at:float\ns1 | 007 | 3 | 9\n"
    folder = str(written(tmp_path, inter=text, item="asin:token | title:token\n007 | Heat\n"))
    names = {"user_column": "session_id", "item_column": "asin", "time_column": "at", "weight_column": "clicks"}
    log = RecBole(folder, **names).read_interactions()
    assert (log.user_ids, log.item_ids, log.weights.tolist(), log.times.tolist()) == (["s1"], ["007"], [3], [9])
    assert RecBole(folder, **names).read_items("{title}").ids == ["007"]
    with pytest.raises(InputError, match=r"shop\.inter, row 1: no column 'stars', only session_id"):
        RecBole(folder, **{**names, "weight_column": "stars"}).read_interactions()


def test_a_folder_without_the_file_or_with_two_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no file \*\.inter here\. Give the folder that holds NAME\.inter"):
        RecBole(str(tmp_path)).read_interactions()
    written(tmp_path, inter=INTER)
    (tmp_path / "club.inter").write_text("")
    with pytest.raises(InputError, match=r"more than one file \*\.inter: club\.inter, shop\.inter"):
        RecBole(str(tmp_path)).read_interactions()


def test_broken_rows_are_errors_unless_some_are_allowed(tmp_path):
    folder = str(written(tmp_path, inter=INTER + "cy | 7\n"))
    with pytest.raises(InputError, match=r"shop\.inter, row 4: 2 fields, but the header has 4"):
        RecBole(folder).read_interactions()
    reader = RecBole(folder, max_broken_share=0.4)
    assert len(reader.read_interactions()) == 2
    assert [str(b) for b in reader.broken] == [
        "shop.inter: 1 of 3 rows left out: 2 fields where the header has 4 (row 4)"
    ]
