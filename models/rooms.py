"""Rooms as pairs of impulse responses, measured ones and ones simulated by the image source method.

A simulated room is a shoebox between a small bathroom and a large living room. Its early reflections are computed one
by one; what follows is noise that decays as the room does. Every response starts with its direct sound, so that no
word end moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyroomacoustics as pra
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT

from daemon.features import SAMPLE_RATE

Audio = NDArray[np.float32]
Point = NDArray[np.float64]  # (3,), in metres

MEASURED_SHARE = 0.3  # of the rooms picked, where there are measured ones
SMALLEST_M, LARGEST_M = (2.0, 2.0, 2.2), (8.0, 10.0, 3.2)
RT60_S = (0.15, 1.0)
DISTANCE_M = (0.3, 5.0)  # of the talker from the microphone
HEIGHT_M = (0.4, 1.9)
MARGIN_M = 0.15  # between anything and a wall
DARKER = (0.0, 0.35)  # the decay gets shorter by this power of the frequency, as carpets, curtains and air make it
PIVOT_HZ = 500.0  # up to which the decay is as long as was asked
EARLY_S = 0.06  # after which reflections are too dense to be told apart
JOINT_S = 0.02  # of early reflections that set the level of the noise after them
LONGEST_S = 1.0
WINDOW = 128
SPEED_OF_SOUND = 343.0


@dataclass(frozen=True)
class Room:
    """What a microphone hears of an impulse at the talker's place and of one at another place in the same room."""

    talker: Audio
    elsewhere: Audio


@dataclass(frozen=True)
class Rooms:
    """The rooms that scenes are put into."""

    measured: tuple[Room, ...]
    simulated: tuple[Room, ...]

    def pick(self, rng: np.random.Generator) -> Room:
        """One of them; a measured one in MEASURED_SHARE of the cases where there are both kinds."""
        kinds = [kind for kind in (self.measured, self.simulated) if kind]
        rooms = self.measured if len(kinds) == 2 and rng.random() < MEASURED_SHARE else kinds[-1]
        return rooms[int(rng.integers(len(rooms)))]


@dataclass(frozen=True)
class Place:
    """A shoebox room and who is where in it."""

    size: Point
    rt60: float  # seconds
    microphone: Point
    talker: Point
    elsewhere: Point


def gather_rooms(measured: Sequence[Audio], count: int, seed: int) -> Rooms:
    """Measured responses as rooms, in which all sound comes from one place, and `count` simulated rooms of a seed."""
    aligned = [direct(response) for response in measured]
    rng = np.random.default_rng((seed, count))
    simulated = tuple(simulate(place(rng), rng.uniform(*DARKER), rng) for _ in range(count))
    return Rooms(tuple(Room(response, response) for response in aligned), simulated)


def direct(response: Audio) -> Audio:
    """A measured response from its direct sound on, LONGEST_S at most, at unit energy."""
    first = int(np.argmax(np.abs(response)))
    return _unit(response[first : first + round(LONGEST_S * SAMPLE_RATE)])


def place(rng: np.random.Generator) -> Place:
    """A random room with a microphone, a talker within DISTANCE_M of it, and something else anywhere."""
    size = rng.uniform(SMALLEST_M, LARGEST_M)
    rt60 = float(np.exp(rng.uniform(*np.log(RT60_S))))
    while True:
        microphone, elsewhere = (_anywhere(size, rng) for _ in range(2))
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*DISTANCE_M)
        talker = microphone + distance * np.array([np.cos(angle), np.sin(angle), 0])
        talker[2] = rng.uniform(*HEIGHT_M)
        inside = (talker > MARGIN_M).all() and (talker < size - MARGIN_M).all()
        near, far = DISTANCE_M
        if inside and np.linalg.norm(talker - microphone) <= far and np.linalg.norm(elsewhere - microphone) >= near:
            return Place(size, rt60, microphone, talker, elsewhere)


def _anywhere(size: Point, rng: np.random.Generator) -> Point:
    point = rng.uniform(MARGIN_M, size - MARGIN_M)
    point[2] = rng.uniform(*HEIGHT_M)
    return point


def simulate(where: Place, darker: float, rng: np.random.Generator) -> Room:
    """The room at a place; `darker` says how much faster high sound decays, 0 for all alike."""
    pra.constants.set("num_threads", 1)  # the order in which reflections are added up changes their last bits
    walls = pra.Material(_absorption(where.size, where.rt60))
    order = int(np.ceil(SPEED_OF_SOUND * EARLY_S * np.linalg.norm(1 / where.size)))  # of the latest of them
    box = pra.ShoeBox(where.size, fs=SAMPLE_RATE, materials=walls, max_order=order, use_rand_ism=False)
    sources = (where.talker, where.elsewhere)
    for source in sources:
        box.add_source(source)
    box.add_microphone(where.microphone)
    box.compute_rir()
    responses = []
    for source, found in zip(sources, box.rir[0], strict=True):
        first = pra.constants.get("frac_delay_length") // 2
        first += round(float(np.linalg.norm(source - where.microphone)) / SPEED_OF_SOUND * SAMPLE_RATE)
        early = found[first : round(EARLY_S * SAMPLE_RATE)]
        responses.append(_unit(_darkened(_prolonged(early, where.rt60, rng), where.rt60, darker)))
    return Room(*responses)


def _absorption(size: Point, rt60: float) -> float:
    """The share of energy that walls swallow in a room that decays so (Eyring)."""
    volume, surface = np.prod(size), 2 * np.sum(np.prod(size) / size)
    return float(1 - np.exp(-24 * np.log(10) * volume / (SPEED_OF_SOUND * surface * rt60)))


def _prolonged(early: NDArray[np.float64], rt60: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Early reflections, and after them noise as loud as they are at their end, down to -60 dB."""
    length = max(len(early), round(min(rt60, LONGEST_S) * SAMPLE_RATE))
    envelope = 10 ** (-3 * np.arange(length) / SAMPLE_RATE / rt60)
    joint = slice(len(early) - round(JOINT_S * SAMPLE_RATE), len(early))
    level = np.linalg.norm(early[joint]) / np.linalg.norm(envelope[joint])
    tail = level * envelope * rng.standard_normal(length)
    tail[: len(early)] = early
    return tail


def _darkened(response: NDArray[np.float64], rt60: float, darker: float) -> NDArray[np.float64]:
    """The response with a shorter decay above PIVOT_HZ: rt60 * (PIVOT_HZ / hertz)**darker."""
    transform = ShortTimeFFT(np.hanning(WINDOW + 1)[:WINDOW], WINDOW // 4, SAMPLE_RATE)
    spectrum = transform.stft(response)
    seconds = np.maximum(transform.t(len(response)), 0)
    faster = (np.maximum(transform.f, PIVOT_HZ) / PIVOT_HZ) ** darker - 1
    spectrum *= 10 ** (-3 / rt60 * np.outer(faster, seconds))
    return transform.istft(spectrum, k1=len(response))


def _unit(response: NDArray[np.floating]) -> Audio:
    return (response / np.linalg.norm(response)).astype(np.float32)
