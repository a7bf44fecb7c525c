"""What speaks against a phrase is said in one line each, and what is no phrase is refused."""

from pathlib import Path

import pytest

from models.recipe import Recipe, read, write
from models.wording import PhraseError, check, slug, warnings


@pytest.mark.parametrize("phrase", ["hello kitchen", "hey jarvis", "alexa"])
def test_nothing_speaks_against_a_good_phrase(phrase: str) -> None:
    assert warnings(phrase) == []


@pytest.mark.parametrize(
    ("phrase", "reasons"),
    [
        ("hey", ["is short (2 sounds, 1 syllable)", "is common: in an hour of talk it is said 1.2 times"]),
        ("computer", ["is common"]),
        ("good morning", ["is made of everyday words alone"]),
        ("kwyjibo", ["holds 'kwyjibo', which is in no dictionary: it will be said k-w-ay-jh-iy-b-ow"]),
        ("the refrigerator of my grandmother", ["is long (11 syllables)"]),
    ],
)
def test_what_speaks_against_a_phrase_is_told(phrase: str, reasons: list[str]) -> None:
    told = warnings(phrase)
    assert len(told) == len(reasons)
    for line, reason in zip(told, reasons, strict=True):
        assert line.startswith(f"warning: {phrase!r} {reason}")
        assert "\n" not in line


def test_a_phrase_is_written_in_one_way_and_its_name_is_a_word_of_a_recipe(tmp_path: Path) -> None:
    assert check((" Hello  Kitchen", "Jarvis")) == ("hello kitchen", "jarvis")
    made = Recipe(words=tuple(map(slug, check(("Hello Kitchen", "a" * 20 + " " + "b" * 19)))))
    write(made, tmp_path / "recipe.yaml")
    assert read(tmp_path / "recipe.yaml").words[0] == "hello_kitchen"


@pytest.mark.parametrize(
    ("phrases", "reason"),
    [
        (("",), "is no phrase"),
        (("--out",), "is no phrase"),
        (("café",), "is no phrase"),
        (("hello\nkitchen; rm",), "is no phrase"),
        (("r2 d2",), "is no phrase"),
        (("what's up",), "is no phrase"),
        (("a" * 41,), "at most 6 words, 40 letters"),
        (("a b c d e f g",), "at most 6 words, 40 letters"),
        (("Alexa", "alexa"), "given twice"),
        (("hey computer", "computer"), "'computer' is heard where 'hey computer' is said"),
        (("night", "knight"), "do not sound alike"),
        (("shh",), "no vowel"),
    ],
)
def test_what_is_no_phrase_is_refused_in_one_line(phrases: tuple[str, ...], reason: str) -> None:
    with pytest.raises(PhraseError, match=reason) as raised:
        check(phrases)
    assert "\n" not in str(raised.value)
