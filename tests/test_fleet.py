"""The broker of many satellites: who may say and read what there."""

from __future__ import annotations

import json
import queue
import subprocess
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.mosquitto import MESSAGE_S, Mosquitto
from tests.shipped import ROOT

ACL = ROOT / "deploy/fleet/roles/broker/files/wakepulse.acl"
USERS = ("hub", "kitchen", "attic")
MARK = "hermes/hotword/mark/detected"  # which everybody may say, and all hear: what was said before it has come by then


class Client:
    """A user of the broker, who has subscribed to everything."""

    def __init__(self, port: int, user: str) -> None:
        self.heard: queue.Queue[str] = queue.Queue()
        ready: queue.Queue[bool] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(user, f"password of {user}")
        self._client.on_message = lambda _client, _userdata, message: self.heard.put(message.topic)
        self._client.on_subscribe = lambda *_: ready.put(True)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#")
        self._client.loop_start()
        ready.get(timeout=MESSAGE_S)

    def say(self, *topics: str) -> None:
        for topic in topics:
            self._client.publish(topic, json.dumps({}), qos=1).wait_for_publish(MESSAGE_S)

    def until(self, mark: str) -> list[str]:
        """What was heard before the mark."""
        return list(iter(lambda: self.heard.get(timeout=MESSAGE_S), mark))

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("broker")
    with Mosquitto(folder, ("hub", "password of hub"), more=[f"acl_file {ACL}"]) as broker:
        for user in USERS:
            command = ["mosquitto_passwd", "-b", folder / "passwords", user, f"password of {user}"]
            subprocess.run(command, check=True, capture_output=True)
        broker.restart()
        yield broker.port


@pytest.fixture
def clients(port: int) -> Iterator[dict[str, Client]]:
    made = {user: Client(port, user) for user in USERS}
    yield made
    for client in made.values():
        client.leave()


def test_a_satellite_says_what_is_its_own(clients: dict[str, Client]) -> None:
    own = ["hermes/hotword/alexa/detected", "wakepulse/kitchen/state", "hermes/audioServer/kitchen/audioFrame"]
    others = ["wakepulse/attic/set/mute", "hermes/audioServer/attic/audioFrame", "hermes/asr/startListening"]
    clients["kitchen"].say(*own, *others, MARK)
    assert clients["hub"].until(MARK) == own


def test_a_satellite_hears_what_is_meant_for_it(clients: dict[str, Client]) -> None:
    own = ["wakepulse/kitchen/set/mute", "hermes/asr/startListening", "hermes/audioServer/kitchen/playBytes/1"]
    own += ["hermes/hotword/toggleOff", "rhasspy/audioServer/setVolume", "hermes/feedback/sound/toggleOff"]
    others = ["wakepulse/attic/state", "hermes/audioServer/attic/audioFrame", "hermes/nlu/query", "anything"]
    clients["hub"].say(*own, *others, MARK)
    assert clients["kitchen"].until(MARK) == own
