"""Batching: who is answered with whom."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from recall_lightning.serving.batching import Batcher


@dataclass
class Word:
    text: str

    @property
    def size(self):
        return len(self.text)


def batches_of(words, *, wait_s=10.0, most=5, answer=str.upper):
    """Answers to words that are asked at once, and the batches that they were answered in."""
    batches = []

    def answer_all(asks):
        batches.append([ask.text for ask in asks])
        return [answer(ask.text) for ask in asks]

    async def asked():
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(answer_all, thread, wait_s=wait_s, most=most)
            running = asyncio.create_task(batcher.run())
            answers = await asyncio.gather(*(batcher.ask(Word(word)) for word in words), return_exceptions=True)
            running.cancel()
            return answers

    return asyncio.run(asked()), batches


def test_words_are_answered_in_the_order_they_came_in_batches_up_to_the_most():
    answers, batches = batches_of(["a", "bb", "cc", "d", "eee", "f"], most=5)
    assert answers == ["A", "BB", "CC", "D", "EEE", "F"]
    assert batches == [["a", "bb", "cc"], ["d", "eee", "f"]]  # full ones, so that nobody waited for 10 seconds


def test_what_is_larger_than_a_batch_is_answered_alone():
    assert batches_of(["a", "longest", "bbbbb"], most=5, wait_s=0.01)[1] == [["a"], ["longest"], ["bbbbb"]]


def test_a_batch_that_does_not_fill_starts_when_its_first_has_waited():
    assert batches_of(["a", "b"], wait_s=0.05)[1] == [["a", "b"]]


def test_without_a_wait_what_arrived_together_is_still_answered_together():
    assert batches_of(["a", "b"], wait_s=0)[1] == [["a", "b"]]


def test_an_exception_in_an_answers_place_is_raised_to_who_asked_alone():
    answers, _ = batches_of(["a", "b"], wait_s=0, answer=lambda text: KeyError(text) if text == "b" else text)
    assert answers[0] == "a"
    assert isinstance(answers[1], KeyError)


def test_a_batch_that_fails_is_told_to_all_of_it_and_the_next_is_answered():
    def answer(text):
        if text == "bbbbb":
            raise MemoryError
        return text

    answers, batches = batches_of(["aaaaa", "bbbbb", "ccccc"], answer=answer)
    assert [type(given) for given in answers] == [str, MemoryError, str]
    assert len(batches) == 3


def test_who_no_longer_waits_is_passed_over():
    async def asked():
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(lambda asks: [ask.text for ask in asks], thread, wait_s=0.05, most=9)
            running = asyncio.create_task(batcher.run())
            gone = asyncio.create_task(batcher.ask(Word("gone")))
            stays = asyncio.create_task(batcher.ask(Word("stays")))
            await asyncio.sleep(0)
            gone.cancel()
            assert await stays == "stays"
            with pytest.raises(asyncio.CancelledError):
                await gone
            running.cancel()

    asyncio.run(asked())
