"""Tokens: what the tokenizer itself would give, padded, in buckets, and the same from the cache."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from recall_lightning.data.tokens import Frame, Tokens, concatenated, frame_of, tokenize

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "heat", "alien", "bra", "##zil", "of", "the", ".", "1995"]
PAD, CLS, SEP = 0, 2, 3
TEXTS = ["Heat. 1995", "", "Alien of the Brazil", "unheard", "the the the the the the the the the the"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    return BertTokenizerFast(str(vocabulary))


@pytest.mark.parametrize("max_tokens", [4, 6, 64])
def test_a_batch_equals_the_tokenizers_own_output(tokenizer, max_tokens):
    batch = tokenize(TEXTS, tokenizer, max_tokens=max_tokens).batch(np.arange(5))
    expected = tokenizer(TEXTS, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    assert torch.equal(batch.ids, expected["input_ids"])
    assert torch.equal(batch.mask, expected["attention_mask"].bool())


def test_a_batch_is_of_the_rows_asked_for_and_no_wider_than_they_need(tokenizer):
    batch = tokenize(TEXTS, tokenizer, max_tokens=64).batch(np.array([3, 1, 3]))
    assert batch.ids.tolist() == [[CLS, 1, SEP], [CLS, SEP, PAD], [CLS, 1, SEP]]
    assert batch.mask.tolist() == [[True, True, True], [True, True, False], [True, True, True]]


def test_lengths_count_the_special_tokens(tokenizer):
    assert tokenize(TEXTS, tokenizer, max_tokens=6).lengths.tolist() == [5, 2, 6, 3, 6]


def test_the_frame_is_what_the_tokenizer_puts_around_a_text(tokenizer):
    assert frame_of(tokenizer) == Frame([CLS], [SEP], PAD)


def test_texts_without_special_tokens_stay_bare():
    tokens = Tokens(np.array([7, 8, 9], np.int32), np.array([0, 1, 1, 3]), Frame([], [], 0))
    batch = tokens.batch(np.arange(3))
    assert batch.ids.tolist() == [[7, 0], [0, 0], [8, 9]]
    assert batch.mask.tolist() == [[True, False], [False, False], [True, True]]


def test_no_texts_make_an_empty_batch(tokenizer):
    tokens = tokenize([], tokenizer, max_tokens=8)
    batch = tokens.batch(np.empty(0, np.int64))
    assert (tokens.lengths.tolist(), batch.ids.shape[0], batch.buckets) == ([], 0, ())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.integers(1, 6))
def test_buckets_cover_every_text_once_and_are_wide_enough(lengths, most):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = Tokens(np.full(sum(lengths), 5, np.int32), offsets, Frame([CLS], [SEP], PAD))
    batch = tokens.batch(np.arange(len(lengths)), max_buckets=most)
    assert [row for start, stop, _ in batch.buckets for row in range(start, stop)] == list(range(len(lengths)))
    assert len(batch.buckets) <= most
    for start, stop, width in batch.buckets:
        assert width == max(lengths[start:stop]) + 2
        assert not batch.mask[start:stop, width:].any()


def test_of_texts_sorted_by_length_the_short_ones_get_a_narrow_bucket():
    lengths = np.repeat([1, 9], 32)
    tokens = Tokens(np.full(320, 5, np.int32), np.concatenate([[0], np.cumsum(lengths)]), Frame([CLS], [SEP], PAD))
    assert tokens.batch(np.arange(64)).buckets == ((0, 32, 3), (32, 64, 11))


def test_the_second_call_reads_the_file_and_gives_the_same(tokenizer, tmp_path, monkeypatch):
    first = tokenize(TEXTS, tokenizer, max_tokens=8, cache_dir=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_mtime_ns
    loads = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: loads.append(args) or load(*args, **kwargs))
    second = tokenize(TEXTS, tokenizer, max_tokens=8, cache_dir=tmp_path / "cache")
    assert len(loads) == 1
    assert second.values.tolist() == first.values.tolist()
    assert second.offsets.tolist() == first.offsets.tolist()
    assert second.frame == first.frame
    assert [(f, f.stat().st_mtime_ns) for f in (tmp_path / "cache").iterdir()] == [(file, written)]


def test_a_changed_text_order_length_or_vocabulary_gets_a_file_of_its_own(tokenizer, tmp_path):
    tokenize(TEXTS, tokenizer, max_tokens=8, cache_dir=tmp_path)
    tokenize([*TEXTS[:-1], "heat"], tokenizer, max_tokens=8, cache_dir=tmp_path)
    tokenize(TEXTS[::-1], tokenizer, max_tokens=8, cache_dir=tmp_path)
    tokenize(TEXTS, tokenizer, max_tokens=7, cache_dir=tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "unheard"]) + "\n")
    other = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    tokenize(TEXTS, other, max_tokens=8, cache_dir=tmp_path)
    assert len(list(tmp_path.glob("tokens-*.npy"))) == 5


def test_what_a_killed_writer_left_behind_is_not_taken_for_tokens(tokenizer, tmp_path, monkeypatch):
    def killed(file, array):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            tokenize(TEXTS, tokenizer, max_tokens=8, cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    again = tokenize(TEXTS, tokenizer, max_tokens=8, cache_dir=tmp_path)
    assert again.values.tolist() == tokenize(TEXTS, tokenizer, max_tokens=8).values.tolist()


def test_the_tokenizer_is_left_as_it_would_be_with_tokens_from_the_cache(tokenizer, tmp_path):
    states = []
    for _ in range(2):  # a checkpoint carries it
        tokenize(TEXTS, tokenizer, max_tokens=8, cache_dir=tmp_path)
        states.append(tokenizer.backend_tokenizer.to_str())
    assert states[0] == states[1]


A, B, C = 5, 6, 7  # a text of one token, one of two, one of none
JOINABLE = Tokens(np.array([A, B, C], np.int32), np.array([0, 1, 3, 3]), Frame([CLS], [SEP], PAD))


@pytest.mark.parametrize(
    ("history", "max_tokens", "ids"),
    [
        ([-1, 0, 1], 16, [CLS, B, C, SEP, A, SEP]),
        ([0, 1, 0], 16, [CLS, A, SEP, B, C, SEP, A, SEP]),
        ([0, 1, 0], 6, [CLS, A, SEP, B, C, SEP]),
        ([0, 1, 0], 5, [CLS, A, SEP, B, SEP]),
        ([-1, -1, 1], 3, [CLS, B, SEP]),
        ([-1, -1, -1], 16, [CLS, SEP]),
        ([-1, -1, 2], 16, [CLS, SEP]),
        ([-1, 2, 0], 16, [CLS, A, SEP, SEP]),
    ],
)
def test_a_history_is_joined_newest_first_with_separators_and_cut_at_the_oldest(history, max_tokens, ids):
    batch = JOINABLE.joined(np.array([history]), max_tokens=max_tokens)
    assert batch.ids.tolist() == [ids]
    assert batch.mask.all()


def test_joined_histories_of_unequal_length_are_padded():
    batch = JOINABLE.joined(np.array([[-1, -1], [0, 1], [-1, 0]]), max_tokens=16)
    assert batch.ids.tolist() == [
        [CLS, SEP, PAD, PAD, PAD, PAD], [CLS, B, C, SEP, A, SEP], [CLS, A, SEP, PAD, PAD, PAD]
    ]  # fmt: skip
    assert batch.mask.sum(1).tolist() == [2, 6, 3]
    assert batch.buckets == ((0, 3, 6),)


def test_texts_of_the_same_tokens_are_told_by_the_first_of_them():
    tokens = Tokens(
        np.array([A, B, A, B, A, B], np.int32), np.array([0, 1, 2, 3, 4, 4, 6, 6]), Frame([CLS], [SEP], PAD)
    )
    assert tokens.alike.tolist() == [0, 1, 0, 1, 4, 5, 4]


def tokens_of(texts):
    offsets = np.cumsum([0, *map(len, texts)])
    return Tokens(np.array([token for text in texts for token in text], np.int32), offsets, Frame([CLS], [SEP], PAD))


@given(st.lists(st.lists(st.integers(5, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_texts_selected_out_of_two_lists_are_those_of_one(texts, data):
    cut = data.draw(st.integers(0, len(texts)))
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=6))
    chosen = concatenated(tokens_of(texts[:cut]), tokens_of(texts[cut:])).select(np.array(rows, np.int64))
    assert [chosen.of(place).tolist() for place in range(len(rows))] == [texts[row] for row in rows]
    assert chosen.lengths.tolist() == [len(texts[row]) + 2 for row in rows]
