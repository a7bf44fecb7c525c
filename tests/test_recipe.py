"""A recipe is read whole or refused in one line."""

from pathlib import Path

import pytest

from models import recipe
from models.recipe import Network, Recipe, RecipeError
from tests.disk import room_for

WORDS = "words: [up, down]\n"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    made = Recipe(words=("up",), network=Network(gate=8), rounds=(5,))
    recipe.write(made, tmp_path / "recipe.yaml")
    assert recipe.read(tmp_path / "recipe.yaml") == made


def test_a_recipe_stays_where_there_is_no_room_for_it(tmp_path: Path) -> None:
    made, path = Recipe(words=("up",)), tmp_path / "recipe.yaml"
    recipe.write(made, path)
    with room_for(20), pytest.raises(OSError, match="File too large"):
        recipe.write(made, path)
    assert recipe.read(path) == made


def test_shipped_recipes_are_known_by_name() -> None:
    names = [path.stem for path in recipe.FOLDER.glob("*.yaml")]
    assert "six_words" in names
    for name in names:
        words = ("up",) if name == "phrase" else ()
        assert recipe.read(Path(name), words).words


def test_words_are_given_for_a_recipe_that_names_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("rounds: [5]\n")
    assert recipe.read(path, ("up", "down")) == Recipe(words=("up", "down"), rounds=(5,))
    path.write_text(WORDS)
    with pytest.raises(RecipeError, match="words of its own"):
        recipe.read(path, ("left",))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rounds: [5]\n", "words"),
        (WORDS + "sede: 2\n", "sede"),
        (WORDS + "rounds: [0]\n", "rounds"),
        (WORDS + "network: {dilations: []}\n", "dilations"),
        ("words: [Up!]\n", "words"),
        ("words: [up, up]\n", "not all different"),
        (WORDS + "sounds: {tempo: [1.2, 0.8]}\n", "smaller one first"),
        (WORDS + "sounds: {snr_db: [20, 0]}\n", "smaller one first"),
        (WORDS + "sounds: {tempo: [2, 3]}\n", "at 3 a scene ends before 982 frames; at most 1.2, or fewer frames"),
        (WORDS + "sounds: {tempo: [1, 4]}\nframes: 300\n", "at most 3.93, or fewer"),
        (WORDS + "network: {dilations: [256]}\nframes: 300\n", "fewer than the 515"),
        (WORDS + "network: {kind: parts}\nquantised: true\n", "gated networks alone"),
        (WORDS + "average: 1\n", "average"),
        ("words: [up\n", "line 2"),
        ("[" * 5000, "recursion|deep"),
        (WORDS + "#" * recipe.MAX_BYTES, "larger than"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=named) as raised:
        recipe.read(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_recipe_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="cannot read nowhere"):
        recipe.read(Path("nowhere"))
