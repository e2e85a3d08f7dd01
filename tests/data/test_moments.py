"""Moments: seconds or ISO 8601 in a config, and a date in a message where it can be one."""

import os
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_lightning.data.moments import moment, readable
from recall_lightning.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (978300760, 978300760), (-1.5, -1.5), (0, 0),
        ("978300760", 978300760), (" 978300760 ", 978300760), ("-2", -2), ("+2.5", 2.5), ("3.", 3), (".5", 0.5),
        ("1e9", 1e9),  # what YAML takes for a word
        ("2000-12-31T22:12:40", 978300760), ("2000-12-31 22:12:40", 978300760), ("2000-12-31T22:12:40Z", 978300760),
        ("2001-01-01T00:12:40+02:00", 978300760), ("2000-12-31", 978220800), (" 1970-01-02 ", 86400),
        ("1969-12-31T23:59:58.5", -1.5),
    ],
)  # fmt: skip
def test_a_moment_is_seconds_or_a_date_in_utc_where_it_names_no_zone(text, seconds):
    read = moment(text, "data.since")
    assert (read, type(read)) == (seconds, float)


def test_the_machines_own_zone_does_not_matter(monkeypatch):
    monkeypatch.setitem(os.environ, "TZ", "America/New_York")
    time.tzset()
    try:
        assert moment("2000-12-31T22:12:40", "data.since") == 978300760
        assert readable(978300760) == "2000-12-31 22:12:40"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["31/12/2000", "yesterday", "", "2000-13-01", "1 2", "nan", "1_000"])
def test_what_is_neither_names_the_key_and_the_cure(text):
    with pytest.raises(InputError) as told:
        moment(text, "data.since")
    assert str(told.value) == (f"data.since is {text!r}, neither seconds nor ISO 8601. Write 978300760 or 2000-12-31")


@given(st.datetimes(min_value=datetime(1973, 1, 1), max_value=datetime(3000, 1, 1)))
def test_a_date_that_is_told_is_the_moment_it_stands_for(date):
    seconds = date.replace(microsecond=0, tzinfo=UTC).timestamp()
    assert moment(readable(seconds), "data.since") == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (978300760, "2000-12-31 22:12:40"), (np.int64(978300760), "2000-12-31 22:12:40"),
        (978300760.9, "2000-12-31 22:12:40"),
        (7, "7"), (np.int64(7), "7"), (np.float64(0.5), "0.5"), (-5, "-5"), (2**40, "1099511627776"),
    ],
)  # fmt: skip
def test_what_is_rather_a_counter_is_told_as_it_is(seconds, text):
    assert readable(seconds) == text
