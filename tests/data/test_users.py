"""Users: what is known of them, by id."""

import pytest

from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.data.users import Users
from recall_lightning.errors import InputError

USERS = Users(["ann", "007"], {"age": ["30", ""], "city": ["York", "Rome"]})


def test_a_column_is_asked_for_by_user_ids_in_any_order():
    assert USERS.column("city", ["007", "ann", "007"]) == ["Rome", "York", "Rome"]
    assert len(USERS) == 2


def test_an_unknown_user_has_an_empty_value():
    assert USERS.column("city", ["7", "ann"]) == ["", "York"]


def test_an_unknown_column_is_told_with_those_there_are():
    with pytest.raises(InputError, match=r"no column 'gender' of users: there is age, city\. Name one of them"):
        USERS.column("gender", ["ann"])
    with pytest.raises(InputError, match=r"no column 'gender' of users: there is none"):
        Users(["ann"], {}).column("gender", [])


def test_a_table_of_users_gives_all_its_columns_as_strings(tmp_path):
    (tmp_path / "u.csv").write_text('user_id,age,city\n007,030,"York, UK"\nann,,Rome\n')
    users = Tabular("", "", users=str(tmp_path / "u.csv")).read_users()
    assert users == Users(["007", "ann"], {"age": ["030", ""], "city": ["York, UK", "Rome"]})


def test_without_a_table_of_users_nothing_is_known():
    assert Tabular("r.csv", "i.csv").read_users() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nann\n", r"u\.csv, row 1: no column 'user_id', only name"),
        ("user_id,age\n", r"u\.csv: no row after the header\. Each user needs one"),
        ("user_id,age\nann,1\nann,2\n", r"u\.csv, row 3: user 'ann' has a row above\. Keep one row a user"),
        ("user_id,age\nann,1\n,2\n", r"u\.csv, row 3: user_id is empty"),
    ],
)
def test_users_that_cannot_be_used_are_told(tmp_path, text, message):
    (tmp_path / "u.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        Tabular("", "", users=str(tmp_path / "u.csv")).read_users()
