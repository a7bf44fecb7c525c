"""What hearing costs on an emulated Pi Zero, in regions that the model of its processor is told of: see `__main__.py`.

Runs there, beside the installed package. Says of each region its number, how many pulses it counts, and what it is.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np

import pulse
from daemon import satellite, source
from daemon.capture import BLOCK, Bell, Block, Ring, SoundCard
from daemon.config import SHIPPED_MODELS, Config, MqttConfig, WakeConfig
from daemon.features import FRAMES_PER_SECOND, MELS, SAMPLE_RATE, LogMel
from daemon.listener import Listener
from daemon.model import WakeModel
from daemon.speaker import WORD_S, SpeakerModel, Voice

MARK, BEGIN, END = 0x50554C53, 1, 2  # for prctl, which the model watches
WARM_UP, RUNS = 5, 20
STARTED = 40  # blocks after which a satellite has started
LOUDNESS = 3000  # of the noise that is heard
LEVEL, SPREAD = 8, 3  # of its frames
NOWHERE = 9  # a port without a broker
PULSE_MS = 1000 * BLOCK / SAMPLE_RATE
SPEAKER = "speaker"
MODELS = ("six_words", "six_words.int8", "six_words_zero", "six_words_zero.int8")
SYSTEM = ctypes.CDLL(None)
NOISE = np.random.default_rng(0)


def mark(what: int, number: int) -> None:
    """A region begins or ends."""
    SYSTEM.prctl(MARK, what, number)


def region(number: int, name: str, run: Callable[[], object], runs: int = RUNS) -> None:
    """Count `runs` runs of what was run before."""
    for _ in range(min(WARM_UP, runs)):
        run()
    mark(BEGIN, number)
    for _ in range(runs):
        run()
    mark(END, number)
    print(number, runs, name, flush=True)


def frames(count: int) -> np.ndarray:
    """Frames of noise (count, MELS)."""
    return NOISE.normal(LEVEL, SPREAD, (count, MELS)).astype(np.float32)


class Microphone(SoundCard):
    """A sound card without a card: the noise goes where PortAudio's own thread would take it."""

    number = 0

    def __init__(self, device: str | None = None) -> None:
        self._ring, self._bell = Ring(), Bell()
        self._closed = self._finished = False
        self._adc_end = 0.0

    def blocks(self) -> Iterator[Block]:
        """So many blocks that the last `RUNS` of them can be counted."""
        taken, fine = super().blocks(), SimpleNamespace(input_overflow=False)
        sound = NOISE.integers(-LOUDNESS, LOUDNESS, BLOCK).astype(np.int16).tobytes()
        for block in range(STARTED + RUNS):
            if block == STARTED:
                mark(BEGIN, self.number)
            self._receive(sound, BLOCK, SimpleNamespace(inputBufferAdcTime=block * BLOCK / SAMPLE_RATE), fine)
            self._bell.wait(0)
            yield next(taken)
        mark(END, self.number)
        signal.raise_signal(signal.SIGTERM)  # or a satellite would open its microphone again

    def close(self) -> None:
        """End `blocks`."""
        self._closed = True


def hear(number: int, name: str) -> None:
    """The network alone, all from samples to detections, and a whole satellite, with the model of that name."""
    path = SHIPPED_MODELS / f"{name}.plan"
    model = WakeModel.load(path)
    given, state = frames(model.plan.pulse)[None], pulse.State(model.plan)
    region(number, f"network {name}", lambda: state.run(given))
    listener = Listener(model, model.thresholds, refractory_s=WakeConfig().refractory_s)
    block, samples = NOISE.integers(-LOUDNESS, LOUDNESS, BLOCK).astype(np.int16), iter(range(0, 1 << 30, BLOCK))
    region(number + 1, f"listener {name}", lambda: listener.push(next(samples), block))
    Microphone.number = number + 2
    satellite.Satellite(Config(wake=WakeConfig(model=path), mqtt=MqttConfig(port=NOWHERE)), model).run()
    print(number + 2, RUNS, f"satellite {name}", flush=True)


def speaker(number: int) -> None:
    """Whoever said a word, from the frames that are looked at when it has been heard."""
    model = SpeakerModel.load(SHIPPED_MODELS / "speaker.plan")
    heard, voice = frames(round(WORD_S * FRAMES_PER_SECOND) + model.lead), Voice(model)
    region(number, SPEAKER, lambda: voice.embed(heard), 1)


def main() -> None:
    """What is named."""
    source.SoundCard = Microphone  # type: ignore[misc]
    for name in sys.argv[1:]:
        if name == "features":
            block, push = NOISE.integers(-LOUDNESS, LOUDNESS, BLOCK).astype(np.int16), LogMel().push
            region(1, name, lambda block=block, push=push: push(block))
        elif name == SPEAKER:
            speaker(2)
        else:
            hear(10 * (1 + MODELS.index(name)), name)


if __name__ == "__main__":
    main()
