"""A scene is the same sound whichever process makes it, and nothing that happens to a word moves it."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from daemon.features import HOP, SAMPLE_RATE
from models.augment import SCENE_SAMPLES, SNR_DB, Clip, Hearing, Material, Scenes, Takes, _voice
from models.rooms import Rooms, gather_rooms

SCENES = 12


def scenes(rooms: Rooms, *, stress_db: float = 0, snr_db: tuple[float, float] = SNR_DB) -> Scenes:
    rng = np.random.default_rng(0)
    word = Clip(rng.normal(size=8000).astype(np.float32), 1000, 7000)
    speech = rng.normal(size=30_000).astype(np.float32)
    takes = Takes(recorded=((word,),), made=())
    material = Material((takes, takes), speech=(speech,), near=(), made=(), noise=(speech,), rooms=rooms)
    return Scenes(material, Hearing("hamming", stress_db=stress_db, snr_db=snr_db), 1)


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


def test_stress_moves_from_one_part_of_what_is_said_to_another() -> None:
    rooms = gather_rooms([], 3, 1)
    even = Clip(np.ones(2 * SAMPLE_RATE, np.float32), 0, SAMPLE_RATE)
    swings = []
    for stress_db in (0, 6):
        said = [_voice(even, np.random.default_rng(seed), stress_db).audio[500:-500] for seed in range(20)]
        swings.append([20 * np.log10(audio.max() / audio.min()) for audio in said])
    assert max(swings[0]) < 1 and np.median(swings[1]) > 6 and max(swings[1]) < 13
    plain, stressed = (scenes(rooms, stress_db=stress_db)[3] for stress_db in (0, 6))
    assert not np.array_equal(plain[0], stressed[0])


def test_the_noise_in_a_scene_is_as_loud_as_the_recipe_says() -> None:
    rooms = gather_rooms([], 3, 1)
    word = np.random.default_rng(0).standard_normal(SCENE_SAMPLES).astype(np.float32)
    floors = []
    for snr_db in ((-2, -1), (50, 60)):
        made = scenes(rooms, snr_db=snr_db)
        silent = word * (np.arange(SCENE_SAMPLES) < SCENE_SAMPLES // 2)
        heard = [made._surround(silent, np.random.default_rng(seed)) for seed in range(20)]
        floors.append([np.std(sound[-SAMPLE_RATE:]) / np.std(sound[:SAMPLE_RATE]) for sound in heard])
    assert np.median(floors[0]) > 10 * np.median(floors[1])
