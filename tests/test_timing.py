"""Phonemes are the dictionary's in number and order, and end where the engine says, as far as it says the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.alphabets import Phones, arpabet
from models.engines import ENGINES
from models.phonemes import PHONEMES, usual
from models.timing import timed
from models.voices import Parts, Utterance

EVERY_SOUND = (
    "the quick joy of measuring a thin cow, hardly able to jump with each young sheep, five go to the zoo, good day"
)
phones = st.lists(st.sampled_from(PHONEMES), min_size=1, max_size=9).map(tuple)
lengths = st.lists(st.floats(0.01, 0.3), min_size=12, max_size=12)


def told(engine: str, text: str) -> Parts:
    return ENGINES[engine].speak([Utterance(text, ENGINES[engine].voices()[0])])[0].parts


def ends(parts: Parts) -> list[float]:
    return [end for _, end in parts]


@pytest.mark.parametrize("engine", ["espeak-ng", "flite", "festival"])
def test_engines_phonemes_are_named_as_the_dictionary_does(engine: str) -> None:
    said = [phone for name, _ in told(engine, EVERY_SOUND) for phone in arpabet(engine, name)]
    assert set(said) <= set(PHONEMES)
    wanted = usual(EVERY_SOUND)
    assert abs(len(said) - len(wanted)) <= 3
    assert len(set(said)) > 30


@pytest.mark.parametrize("engine", ["espeak-ng", "flite", "festival"])
def test_an_engine_s_times_stand(engine: str) -> None:
    said = told(engine, "snowboy")
    parts = timed(usual("snowboy"), said, (0.0, 2.0), engine)
    assert [name for name, _ in parts] == ["S", "N", "OW", "B", "OY"]
    assert ends(parts) == pytest.approx([*ends(said)[:-1], 2.0])


@pytest.mark.parametrize(
    ("engine", "said", "wanted"),
    [
        ("espeak-ng", [("A@", 0.2), ("m", 0.3)], [0.1, 0.2, 0.3]),  # two in one
        ("flite", [("aa", 0.1), ("r", 0.2), ("m", 0.3)], [0.1, 0.2, 0.3]),
        ("flite", [("aa", 0.1), ("er", 0.15), ("m", 0.3)], [0.1, 0.15, 0.3]),  # another in its place
        ("flite", [("aa", 0.1), ("r", 0.2), ("m", 0.25), ("ax", 0.28)], [0.1, 0.2, 0.3]),  # one more
        ("flite", [("aa", 0.2), ("m", 0.3)], [0.2, 0.25, 0.3]),  # one less
        ("piper", [("\u0251", 0.05), ("\u02d0", 0.1), ("\u0279", 0.2), ("m", 0.25)], [0.1, 0.2, 0.3]),
        ("piper", [], [0.1, 0.2, 0.3]),
    ],
)
def test_what_an_engine_says_otherwise_is_divided(engine: str, said: Parts, wanted: list[float]) -> None:
    parts = timed(("AA", "R", "M"), tuple(said), (0.0, 0.3), engine)
    assert ends(parts) == pytest.approx(wanted)


@given(phones, phones, lengths, st.floats(0.0, 1.0), st.floats(0.05, 2.0))
def test_phonemes_fill_the_text(wanted: Phones, said: Phones, each: list[float], start: float, length: float) -> None:
    spoken = tuple((name.lower(), start + sum(each[: nth + 1])) for nth, name in enumerate(said))
    parts = timed(wanted, spoken, (start, start + length), "flite")
    assert tuple(name for name, _ in parts) == wanted
    assert ends(parts) == sorted(ends(parts))
    assert start < ends(parts)[0]
    assert ends(parts)[-1] == start + length
