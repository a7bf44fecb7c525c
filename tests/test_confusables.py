"""Near phrases are near, of every kind, and none is the phrase itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.alphabets import Phones
from models.confusables import CONFUSABLES, confusables, near, sounds_like
from models.phonemes import PHONEMES, common, distance, distances, numbers, pronunciations, spelt, unlike

PHRASES = ("alexa", "smart mirror", "hey snips")
phones = st.lists(st.sampled_from(PHONEMES), min_size=1, max_size=7).map(tuple)


def plain_distance(one: Phones, other: Phones) -> float:
    """The recursion as it is written down in every textbook."""
    if not one or not other:
        return sum(distance((phone,), ()) for phone in one + other)
    return min(
        plain_distance(one[1:], other) + distance((one[0],), ()),
        plain_distance(one, other[1:]) + distance((other[0],), ()),
        plain_distance(one[1:], other[1:]) + unlike(one[0], other[0]),
    )


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_has_some_dozens_and_never_itself(phrase: str) -> None:
    found = confusables(phrase)
    assert 40 <= len(found) <= 110
    assert len(set(found)) == len(found)
    by_hand = [text.lower() for text in CONFUSABLES.get(phrase.replace(" ", "_"), ())]
    assert found[: len(by_hand)] == by_hand
    assert not [text for text in found[len(by_hand) :] if sounds_like(phrase, text)]


def test_every_way_to_be_near_is_there() -> None:
    found = set(confusables("smart mirror"))
    assert {"smart", "mirror"} <= found  # parts
    assert "mirror smart" in found  # another order
    assert "start mirror" in found  # one word replaced by one near
    assert "smart clearer" in found  # a rhyme
    assert "smarter" in found  # one word near to the whole
    assert "come cuter" in confusables("computer")  # two words near to it


def test_words_are_those_that_people_say() -> None:
    """The dictionary has a Mr Mehrer and a Mr Puder."""
    assert {"mirror", "commuter"} <= common().keys()
    assert not {"mehrer", "puder", "gmbh", "yeutter"} & common().keys()
    for phrase in ("hey snips", "hello kitchen"):
        said = {word for text in confusables(phrase) for word in text.split()}
        assert said - set(phrase.split()) <= common().keys()


def test_the_nearest_come_first() -> None:
    found = near(pronunciations("computer")[0], 30)
    assert found[0] == (0.0, "computer")
    assert "commuter" in {word for _, word in found}
    assert [apart for apart, _ in found] == sorted(apart for apart, _ in found)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("view glass", "vue glass"),
        ("view glass", "viewed glass"),
        ("smart mirror", "smart nearer"),  # to whoever is far away
        ("smart mirror", "smart mira"),  # to whoever drops the r
        ("computer", "computers"),
        ("computer", "a supercomputer"),
        ("snowboy", "snow boy"),
        ("jarvis", "jarvice"),  # no dictionary has it
        ("hey jarvis", "Hey, Jarvis!"),
    ],
)
def test_what_sounds_like_the_phrase_is_found_out(phrase: str, text: str) -> None:
    assert sounds_like(phrase, text)


@pytest.mark.parametrize(("phrase", "text"), [("computer", "commuter"), ("alexa", "alexis"), ("hey snips", "snips")])
def test_what_is_only_near_is_not_the_phrase(phrase: str, text: str) -> None:
    assert not sounds_like(phrase, text)


def test_words_without_an_entry_are_said_by_espeak() -> None:
    assert spelt("computer") == ("K", "AH", "M", "P", "Y", "UW", "T", "ER")
    assert pronunciations("snowboy") == (("S", "N", "OW", "B", "OY"),)
    assert pronunciations("wakepulse")[0][:3] == ("W", "EY", "K")


@settings(max_examples=60, deadline=None)
@given(phones, phones)
def test_distances_are_the_textbook_s(one: Phones, other: Phones) -> None:
    one, other = one[:5], other[:5]
    assert distance(one, other) == pytest.approx(plain_distance(one, other), abs=1e-4)
    assert distance(one, other) == pytest.approx(distance(other, one), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(phones, st.lists(phones, min_size=1, max_size=6))
def test_many_distances_at_once_are_those_one_by_one(goal: Phones, ways: list[Phones]) -> None:
    together = distances(goal, numbers(ways))
    assert together == pytest.approx(np.array([distance(goal, way) for way in ways]), abs=1e-5)
    assert distance(goal, goal) == 0
