"""How long a detection takes to whoever waits for it, and whether 200 satellites on one broker lose one.

`python -m tests.satellites [--seconds N] [--satellites N]` runs a Mosquitto of its own on loopback. A hub receives in
this process; the satellites are others, and all read the one monotonic clock of the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from daemon.config import MqttConfig
from daemon.detector import Detection
from daemon.features import SAMPLE_RATE
from daemon.hotword import Hotword
from daemon.link import Link, Message
from daemon.messages import Wake
from daemon.words import Word
from tests.mosquitto import Mosquitto
from tests.shipped import listener, sound, word_end

BLOCK = 1280
REPEATS = 300  # words that one satellite hears
EVERY_S = (2.0, 8.0)  # from one word of a satellite to its next
SETTLE_S = 5.0
WORD = Word("computer", "computer", 0.6, "model", "en")
DETECTED = "hermes/hotword/+/detected"


class Hub:
    """Notes when each detection arrives, by its site and number."""

    def __init__(self, port: int) -> None:
        self.arrived: dict[tuple[str, int], float] = {}
        self.twice = 0
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda *_: self._client.subscribe(DETECTED)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def _note(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        now = time.monotonic()
        payload = json.loads(message.payload)
        key = payload["siteId"], payload["detectionSignalMs"]
        self.twice += key in self.arrived
        self.arrived.setdefault(key, now)


class Simulated:
    """One satellite, less its ears."""

    def __init__(self, site: str, port: int) -> None:
        self.number = 0
        self.sent: dict[tuple[str, int], float] = {}
        self._site = site
        self.link = Link(
            MqttConfig(host="127.0.0.1", port=port),
            name=site,
            will=Message(f"wakepulse/{site}/availability", b"offline"),
        )
        self._hotword = Hotword(site, self.link, software="0", changed=lambda: None)
        self._hotword.load({WORD.name: WORD}, "1")
        self.link.start()

    def wake(self, fired_at: float) -> None:
        """Say that a word was heard by the pulse that began to be computed at `fired_at`."""
        self.number += 1
        self.sent[self._site, self.number] = fired_at
        detection = Detection(WORD.name, 0.9, sample=0, end_sample=0)
        self._hotword.heard(Wake(detection, WORD, "1", newest_sample=0, heard_ns=self.number * 1_000_000))


def hear(port: int, told: Connection) -> None:
    """One satellite that hears a word again and again, each time by its own network."""
    satellite = Simulated("alone", port)
    samples = sound()[word_end() - 3 * SAMPLE_RATE : word_end() + SAMPLE_RATE]
    time.sleep(1)
    for _ in range(REPEATS):
        ear = listener()
        for first in range(0, len(samples), BLOCK):
            begun = time.monotonic()
            if ear.push(first, samples[first : first + BLOCK]):
                satellite.wake(begun)
                break
        time.sleep(random.uniform(0.02, 0.1))
    told.send(satellite.sent)
    satellite.link.stop(SETTLE_S)


def speak(first: int, count: int, port: int, seconds: float, told: Connection) -> None:
    """Some satellites, each of which hears a word every now and then."""
    satellites = [Simulated(f"site{number}", port) for number in range(first, first + count)]
    begun = time.monotonic()
    due = sorted((begun + random.uniform(2, EVERY_S[1]), index) for index in range(count))
    while due and due[0][0] < begun + seconds:
        at, index = due.pop(0)
        time.sleep(max(0.0, at - time.monotonic()))
        satellites[index].wake(time.monotonic())
        due = sorted([*due, (at + random.uniform(*EVERY_S), index)])
        satellites[index].link.dispatch()
    told.send({key: at for satellite in satellites for key, at in satellite.sent.items()})
    for satellite in satellites:
        satellite.link.stop(SETTLE_S)


def report(what: str, sent: dict[tuple[str, int], float], hub: Hub) -> str:
    """One line of figures."""
    latencies = [1000 * (hub.arrived[key] - at) for key, at in sent.items() if key in hub.arrived]
    median, p99 = np.percentile(latencies, (50, 99))
    figures = f"median {median:.2f} ms, p99 {p99:.2f} ms, at most {max(latencies):.2f} ms"
    received = f"{len(sent)} detections, {len(latencies)} received, {hub.twice} of them twice"
    return f"{what}: {received}; from the pulse that fired to the hub: {figures}"


def run(target: object, arguments: list[tuple], port: int) -> tuple[dict[tuple[str, int], float], Hub]:
    """Processes that each send what they sent, and the hub that heard them."""
    hub, pipes, processes = Hub(port), [], []
    for some in arguments:
        near, far = multiprocessing.Pipe()
        processes.append(multiprocessing.Process(target=target, args=(*some, far)))
        processes[-1].start()
        pipes.append(near)
    sent = {key: at for pipe in pipes for key, at in pipe.recv().items()}
    for process in processes:
        process.join()
    deadline = time.monotonic() + SETTLE_S
    while len(hub.arrived) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sent, hub


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--satellites", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder)) as broker:
        print(report("one satellite", *run(hear, [(broker.port,)], broker.port)), flush=True)
        many = os.cpu_count() or 1
        shares = [
            options.satellites * (index + 1) // many - options.satellites * index // many for index in range(many)
        ]
        firsts = [sum(shares[:index]) for index in range(many)]
        arguments = [(first, share, broker.port, options.seconds) for first, share in zip(firsts, shares, strict=True)]
        what = f"{options.satellites} satellites for {options.seconds:g} s"
        print(report(what, *run(speak, arguments, broker.port)))


if __name__ == "__main__":
    main()
