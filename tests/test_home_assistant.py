"""The satellite as a device of Home Assistant: what describes it keeps the rules, and what it shows is so."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from daemon.detector import Detection
from daemon.discovery import Device
from daemon.home_assistant import HomeAssistant
from daemon.messages import Wake, availability
from daemon.words import Word
from tests.home_assistant import DISCOVERY_TOPIC, Number, Sensor, Switch, entities
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.shipped import DEMO, ROOT, model
from tests.test_link import link_to, running
from tests.test_satellite import READY_S, mqtt, of_file, satellite

DISCOVERY = "home_assistant: {discovery: true}\n"
CONFIG = "homeassistant/device/wakepulse_default/config"
STATE = "wakepulse/default/state"


def shown(template: str | None, payload: bytes) -> str:
    """What an entity shows of a message, by Home Assistant's template language."""
    assert template is not None
    value = json.loads(payload)
    return ImmutableSandboxedEnvironment().from_string(template).render(value_json=value, value=payload.decode())


AWKWARD = ["hey lyra", "Hé!", 'a"b\\c', "{{ 1 }}", "{% x %}", "it's", "ok", "ok_", "OK"]


@pytest.mark.parametrize("site", ["default", "kitchen", "Küche 2", "猫", "a" * 64, "'{{\"\\"])
def test_the_description_keeps_the_rules_whatever_site_and_words_are_called(site: str) -> None:
    device = Device(site, "1.2.3")
    assert re.match(DISCOVERY_TOPIC, device.config_topic("homeassistant"))
    payload = msgspec.json.encode(device.description(dict.fromkeys(AWKWARD, True) | {"gone": False}))
    found = entities(payload)
    numbers = [one for one in found.values() if isinstance(one, Number)]
    assert len(numbers) == len(AWKWARD)
    words = {word: {"threshold": index / 10, "from": "set"} for index, word in enumerate(AWKWARD)}
    state = json.dumps({"words": words})
    for index, number in enumerate(numbers):
        assert float(shown(number.value_template, state.encode())) == index / 10
        assert json.loads(shown(number.json_attributes_template, state.encode()))["from"] == "set"
        assert shown(number.value_template, b'{"words": {}}') == "None"  # which resets a number
        assert json.loads(shown(number.json_attributes_template, b'{"words": {}}')) == {}
    told = json.loads(payload)
    assert told["availability"] == [{"topic": availability(site)}]
    assert [key for key, one in told["components"].items() if one == {"platform": "number"}] == ["threshold_gone"]


def test_sites_that_look_alike_are_different_devices() -> None:
    topics = {Device(site, "1").config_topic("homeassistant") for site in ("a b", "a_b", "A_b", "a.b", "ä_b")}
    assert len(topics) == 5


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"listening": True, "microphone": "heard", "off": []}, ("listening", "ON", "OFF")),
        ({"listening": False, "microphone": "heard", "off": ["switch", "ttsSay"]}, ("off", "OFF", "OFF")),
        ({"listening": False, "microphone": "heard", "off": ["user"]}, ("off", "OFF", "OFF")),
        ({"listening": False, "microphone": "heard", "off": ["dialogueSession"]}, ("off", "ON", "OFF")),
        ({"listening": False, "microphone": "muted", "off": []}, ("muted", "ON", "ON")),
        ({"listening": False, "microphone": "away", "off": []}, ("away", "ON", "OFF")),
        ({"listening": False, "microphone": "waiting", "off": []}, ("waiting", "ON", "OFF")),
    ],
)
def test_state_and_switches_are_those_of_the_satellite(state: dict[str, Any], said: tuple[str, str, str]) -> None:
    found = entities(msgspec.json.encode(Device("default", "1").description({"computer": True})))
    payload = json.dumps(state).encode()
    doing, listen, mute = found["state"], found["listen"], found["mute"]
    assert isinstance(doing, Sensor) and isinstance(listen, Switch) and isinstance(mute, Switch)
    assert tuple(shown(one.value_template, payload) for one in (doing, listen, mute)) == said
    assert said[0] in (doing.options or [])


@contextmanager
def device(broker: Mosquitto) -> Iterator[tuple[HomeAssistant, Subscriber]]:
    link = link_to(broker.port)
    home = HomeAssistant(Device("default", "1.2.3"), link, prefix="homeassistant")
    home.offer({"computer": True})
    with Subscriber(broker.port, "#") as subscriber, running(link):
        subscriber.on(CONFIG)
        yield home, subscriber


def of(key: str) -> str:
    """The template of a sensor."""
    found = entities(msgspec.json.encode(Device("default", "1").description({"computer": True})))[key]
    assert isinstance(found, Sensor) and found.value_template
    return found.value_template


@pytest.mark.parametrize(
    ("speakers", "speaker"),
    [((), None), ([("ana", 0.91), (None, 0.09)], "ana"), ([(None, 0.6), ("ana", 0.4)], "unknown")],
)
def test_a_wake_word_is_an_event_with_word_score_and_speaker(
    broker: Mosquitto, speakers: list[tuple[str | None, float]], speaker: str | None
) -> None:
    detection = Detection("smart_mirror", 0.87654, sample=32_000, end_sample=30_400)
    word = Word("smart_mirror", "mirror", 0.5, "config", "en")
    wake = Wake(detection, word, "3", newest_sample=32_080, heard_ns=1_790_000_000_005_000_000, speakers=speakers)
    with device(broker) as (home, subscriber):
        home.heard(wake, -31.5)
        message = subscriber.on("wakepulse/default/wake")
    assert not message.retain
    assert json.loads(message.payload) == {
        "event_type": "mirror",
        "word": "smart mirror",
        "score": 0.8765,
        "threshold": 0.5,
        "level": -31.5,
        "speaker": speaker,
    }
    assert shown(of("score"), message.payload) == "0.8765"


def test_who_spoke_last_is_what_the_speaker_topic_says() -> None:
    for told, said in (("ana", "ana"), (None, "unknown")):
        assert shown(of("speaker"), json.dumps({"speaker": told, "seconds": 2.5}).encode()) == said


def test_how_it_fares_is_told_from_time_to_time(broker: Mosquitto) -> None:
    with device(broker) as (home, subscriber):
        for now in (100.0, 101.0, 129.9, 130.0):
            home.report(now, level_db=-40.5, gaps=int(now))
        reports = [subscriber.on("wakepulse/default/diagnostics").payload for _ in range(2)]
        assert [json.loads(report)["gaps"] for report in reports] == [100, 130]
        assert shown(of("level"), reports[0]) == "-40.5"
        assert shown(of("dropped"), reports[0]) == "0"
        assert 10 < float(shown(of("memory"), reports[0])) < 10_000


def test_without_a_broker_it_waits_and_drops_nothing() -> None:
    link = link_to(free_port())
    HomeAssistant(Device("default", "1"), link, prefix="homeassistant").report(100.0, level_db=-40.5, gaps=0)
    assert not link.dropped


def test_it_is_described_again_when_home_assistant_starts(broker: Mosquitto) -> None:
    with device(broker) as (home, subscriber):
        subscriber.publish("homeassistant/status", b"offline")
        subscriber.publish("homeassistant/status", b"online")
        while not (again := subscriber.poll()) or again.topic != CONFIG:
            home._link.dispatch()
        entities(again.payload)
        assert CONFIG not in {message.topic for message in subscriber.drain()}


@contextmanager
def run(folder: Path, config: str, subscriber: Subscriber) -> Iterator[Callable[[Callable[[dict], bool]], bytes]]:
    """A satellite that ends as it is asked to; gives a wait for a state of which something is true."""
    with satellite(folder, config + DISCOVERY) as process:

        def until(true: Callable[[dict], bool]) -> bytes:
            while not true(json.loads(payload := subscriber.on(STATE, READY_S).payload)):
                pass
            return payload

        yield until
        process.terminate()
        process.communicate(timeout=READY_S)


def test_what_is_set_from_home_assistant_holds_at_once_and_survives_a_restart(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Subscriber(broker.port, "#") as subscriber:
        config = mqtt(broker.port) + of_file(DEMO, realtime=True)
        with run(tmp_path, config, subscriber) as until:
            found = entities(subscriber.on(CONFIG, READY_S).payload)
            assert {key for key in found if key.startswith("threshold_")} == {f"threshold_{w}" for w in model().words}
            number, mute = found["threshold_computer"], found["mute"]
            assert isinstance(number, Number) and isinstance(mute, Switch)
            until(lambda state: state["listening"])
            subscriber.publish(number.command_topic, b"0.995")
            state = until(lambda state: state["words"]["computer"]["from"] == "set")
            assert shown(number.value_template, state) == "0.995"
            assert json.loads(shown(number.json_attributes_template, state)) == {"threshold": 0.995, "from": "set"}
            subscriber.publish("wakepulse/default/set/enabled/alexa", b"OFF")
            assert "threshold_alexa" not in entities(subscriber.on(CONFIG).payload)
            subscriber.publish(mute.command_topic, b"ON")
            until(lambda state: state["microphone"] == "muted")
        assert "0.995" not in (tmp_path / "satellite.yaml").read_text()
        subscriber.drain()
        with run(tmp_path, config.replace("realtime: true", "realtime: false"), subscriber) as until:
            state = until(lambda state: state["microphone"] == "muted")
            assert json.loads(state)["words"]["computer"] == {"threshold": 0.995, "from": "set"}
            assert "alexa" not in json.loads(state)["words"]
            subscriber.publish(mute.command_topic, b"OFF")
            heard = [json.loads(subscriber.on("wakepulse/default/wake", READY_S).payload) for _ in range(2)]
        assert [event["event_type"] for event in heard] == ["jarvis", "snowboy"]
        assert all(-60 < event["level"] < 0 for event in heard)


def taken(*descriptions: dict[str, Any]) -> list[dict[str, list[str] | str]]:
    """What Home Assistant's own package, which deploy/setup.sh puts where it disturbs nothing, makes of devices."""
    folder = Path(sys.prefix, "home-assistant")
    path = os.pathsep.join([*map(str, folder.glob("*.whl")), str(folder / "libraries"), str(ROOT)])
    command, given = [sys.executable, "-m", "tests.home_assistant_schemas"], json.dumps(descriptions)
    result = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        input=given,
        capture_output=True,
        text=True,
        timeout=10 * READY_S,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="its releases for later Pythons keep the rules above")
def test_home_assistant_takes_every_entity() -> None:
    right = Device("Küche 2", "1.2.3").description(dict.fromkeys(AWKWARD, True) | {"gone": False})
    wrong = Device("kitchen", "1.2.3").description({"ok": True})
    wrong["components"]["threshold_ok"]["min"] = 2
    dropped, refused = taken(right, wrong)
    assert set(dropped) == set(right["components"]) - {"threshold_gone"}
    # What the release that runs on this Python, 2024.3, does not know yet.
    assert {key for keys in dropped.values() for key in keys} == {"default_entity_id", "options"}
    assert "must be" in refused.pop("threshold_ok")
    assert all(isinstance(keys, list) for keys in refused.values())
