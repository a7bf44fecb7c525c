"""Sentences are many, of plain words, and never say what is to be recognised."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.confusables import sounds_like
from models.phonemes import common
from models.sentences import BLENDED_SHARE, GRAMMAR, SYMBOL, alone, command, sentences

PHRASES = ("smart mirror", "computer", "turn")


def made(count: int, phrases: tuple[str, ...] = PHRASES, seed: int = 1) -> list[str]:
    return sentences(count, phrases, np.random.default_rng(seed))


def test_every_name_in_the_grammar_has_its_row_and_is_used() -> None:
    named = {name for row in GRAMMAR.values() for text in row for name in SYMBOL.findall(text)}
    assert named - {"WORD"} == GRAMMAR.keys() - {"SENTENCE", "MENTION"}


def test_sentences_are_many_and_plain() -> None:
    found = made(2000)
    assert len(set(found)) == 2000
    assert all(re.fullmatch(r"[A-Za-z]+(,? [A-Za-z]+)*", text) for text in found)
    assert not any(SYMBOL.search(text) for text in found)
    assert len({word for text in found for word in text.split()}) > 400


def test_no_phrase_is_said_but_words_of_one_are() -> None:
    found = made(1000)
    words = [re.findall("[a-z]+", text.lower()) for text in found]
    assert not any({"computer", "turn"} & set(some) for some in words)
    assert not any("smart mirror" in " ".join(some) for some in words)
    mentions = sum(bool({"smart", "mirror"} & set(some)) for some in words)
    assert 100 < mentions < 300


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([*GRAMMAR["DEVICE"], *GRAMMAR["PLEASE"], "the", "a"]))
def test_what_is_often_said_can_be_a_phrase_too(seed: int, phrase: str) -> None:
    found = made(50, (phrase,), seed)
    assert len(found) == 50
    assert found == made(50, (phrase,), seed)
    assert not any(f" {phrase} " in f" {text.lower().replace(',', '')} " for text in found)


def test_words_by_themselves_are_of_a_language_or_of_none_and_like_no_phrase() -> None:
    found = alone(300, PHRASES, np.random.default_rng(1))
    assert len(set(found)) == 300
    assert all(re.fullmatch(r"[a-z]+", text) for text in found)
    assert not any(sounds_like(phrase, text) for phrase in PHRASES for text in found)
    assert sum(text in common() for text in found) / 300 == pytest.approx(1 - BLENDED_SHARE, abs=0.12)
    assert found == alone(300, PHRASES, np.random.default_rng(1))


def test_commands_differ() -> None:
    rng = np.random.default_rng(2)
    assert len({command(rng) for _ in range(100)}) > 80
