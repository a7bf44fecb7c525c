"""A scene is the same sound whichever process makes it, and nothing that happens to a word moves it."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from daemon.features import HOP, SAMPLE_RATE
from models.augment import SCENE_SAMPLES, Clip, Hearing, Material, Scenes, Takes
from models.rooms import Rooms, gather_rooms

SCENES = 12


def scenes(rooms: Rooms) -> Scenes:
    rng = np.random.default_rng(0)
    word = Clip(rng.normal(size=8000).astype(np.float32), 1000, 7000)
    speech = rng.normal(size=30_000).astype(np.float32)
    takes = Takes(recorded=((word,),), made=())
    material = Material((takes, takes), speech=(speech,), near=(), made=(), noise=(speech,), rooms=rooms)
    return Scenes(material, Hearing("hamming"), 1)


def made_alone(first: int) -> list[np.ndarray]:
    """Every second scene from a number on, in rooms that this process makes."""
    made = scenes(gather_rooms([], 3, 1))
    return [made[index][0] for index in range(first, SCENES, 2)]


def test_a_scene_is_the_same_sound_in_every_process() -> None:
    made = scenes(gather_rooms([], 3, 1))
    here = [made[index][0] for index in range(SCENES)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        even, odd = pool.map(made_alone, (0, 1))
    np.testing.assert_array_equal(here[::2], even)
    np.testing.assert_array_equal(here[1::2], odd)
    assert len({frames.tobytes() for frames in here}) == SCENES


def test_what_surrounds_a_word_leaves_it_where_it_is() -> None:
    made = scenes(gather_rooms([], 20, 1))
    word = np.zeros(SCENE_SAMPLES, np.float32)
    start = SCENE_SAMPLES // 2
    word[start : start + 2000] = np.random.default_rng(0).standard_normal(2000) * 0.5
    late = []
    for seed in range(40):
        heard = made._surround(word, np.random.default_rng(seed))
        assert heard.shape == word.shape
        found = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(word)), SCENE_SAMPLES)
        near = np.abs(np.roll(found, SAMPLE_RATE))[: 2 * SAMPLE_RATE]
        late.append(int(np.argmax(near)) - SAMPLE_RATE)
    assert np.median(np.abs(late)) <= 2
    assert np.mean(np.abs(late) <= HOP) > 0.9
