"""What is changed while the satellite runs: over MQTT, by a signal, and never by what makes no sense."""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.config import WakeConfig, WordConfig
from daemon.words import Setting, effective
from tests.mosquitto import Mosquitto, Subscriber
from tests.shipped import DEMO, MODEL, model
from tests.test_satellite import READY_S, mqtt, of_file, satellite
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone

STATE = "wakepulse/default/state"


class Running:
    """A satellite that hears a recording, and what it says of its state."""

    def __init__(self, process: subprocess.Popen[str], subscriber: Subscriber) -> None:
        self.process, self.subscriber = process, subscriber

    def set(self, key: str, value: str) -> None:
        self.subscriber.publish(f"wakepulse/default/set/{key}", value.encode())

    def until(self, true: Callable[[dict], bool]) -> dict:
        """The next state of which this is true."""
        while not true(state := json.loads(self.subscriber.next(READY_S).payload)):
            pass
        return state


@contextmanager
def run(folder: Path, broker: Mosquitto, config: str = "", **environment: str) -> Iterator[Running]:
    config = config or of_file(DEMO, realtime=True)
    with (
        Subscriber(broker.port, STATE) as subscriber,
        satellite(folder, mqtt(broker.port) + config, **environment) as process,
    ):
        found = Running(process, subscriber)
        found.until(lambda state: state["microphone"] in ("heard", "muted"))
        yield found


def threshold(word: str) -> Callable[[dict], tuple[float, str]]:
    return lambda state: (state["words"][word]["threshold"], state["words"][word]["from"])


def test_what_is_set_wins_and_says_where_it_came_from() -> None:
    wake = WakeConfig(words={"jarvis": WordConfig(threshold=0.7, id="j"), "alexa": WordConfig(enabled=False)})
    words = effective(wake, model(), {"j": Setting(threshold=0.9), "alexa": Setting(enabled=True)})
    assert (words["jarvis"].id, words["jarvis"].threshold, words["jarvis"].origin) == ("j", 0.9, "set")
    assert (words["alexa"].threshold, words["alexa"].origin) == (model().thresholds["alexa"], "model")
    words = effective(wake, model(), {"snowboy": Setting(enabled=False)})
    assert (words["jarvis"].threshold, words["jarvis"].origin) == (0.7, "config")
    assert not {"alexa", "snowboy"} & set(words)


def test_thresholds_and_words_are_set_and_set_back(tmp_path: Path, broker: Mosquitto) -> None:
    with run(tmp_path, broker) as running:
        running.set("threshold/computer", "0.9")
        running.until(lambda state: threshold("computer")(state) == (0.9, "set"))
        running.set("enabled/alexa", "OFF")
        running.until(lambda state: "alexa" not in state["words"])
        running.set("threshold/computer", "None")
        running.until(lambda state: threshold("computer")(state)[1] == "model")
        running.set("words", '{"computer": {"threshold": 1.0}}')
        running.until(lambda state: threshold("computer")(state) == (1.0, "set") and "alexa" in state["words"])


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("threshold/computer", "85", "a number above 0 and at most 1"),
        ("threshold/computer", "nan", "a number above 0 and at most 1"),
        ("threshold/nobody", "0.5", "no word 'nobody'"),
        ("enabled/computer", "maybe", "ON or OFF"),
        ("volume/computer", "1", "nothing at all"),
        ("mute", "", "ON or OFF"),
        ("colour", "red", "nothing to set as 'colour'"),
        (f"threshold/{'x' * 40_000}", "0.5", "xxx..."),
        ("words", f'{{"computer": {{"{"x" * 40_000}": 1}}}}', "xxx..."),
        ("words", "[]", "words cannot be set"),
        ("words", '{"computer": {"treshold": 1}}', "treshold"),
        ("words", json.dumps({word: {"enabled": False} for word in model().words}), "every word off"),
    ],
)
def test_66_what_makes_no_sense_is_refused_and_reported(started: Running, key: str, value: str, reason: str) -> None:
    started.set(key, value)
    state = started.until(lambda state: bool(state["refused"] and reason in state["refused"]))
    assert {word["from"] for word in state["words"].values()} == {"model"}
    assert state["listening"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("started")
    with Mosquitto(folder) as broker, run(folder, broker) as running:
        yield running


def test_the_switch_turns_the_wake_word_off_and_on(tmp_path: Path, broker: Mosquitto) -> None:
    with run(tmp_path, broker) as running:
        running.set("listen", "OFF")
        assert running.until(lambda state: not state["listening"])["off"] == ["switch"]
        running.subscriber.publish("hermes/hotword/toggleOn", b'{"reason": "dialogueSession"}')
        running.subscriber.publish("hermes/hotword/toggleOff", b'{"reason": "dialogueSession"}')
        running.until(lambda state: state["off"] == ["switch", "dialogueSession"])
        running.set("listen", "ON")
        running.until(lambda state: state["off"] == ["dialogueSession"])


def test_72_sighup_reads_the_words_again_and_refuses_what_is_wrong(tmp_path: Path, broker: Mosquitto) -> None:
    with run(tmp_path, broker) as running:
        path = tmp_path / "satellite.yaml"
        right = path.read_text()
        for text, reason in (
            ("site_id: [", "is not valid YAML"),
            (right.replace(str(MODEL), "x.plan, words: {x: {}}"), "'x'"),
        ):
            path.write_text(text)
            running.process.send_signal(signal.SIGHUP)
            state = running.until(lambda state, reason=reason: bool(state["refused"] and reason in state["refused"]))
            assert threshold("computer")(state)[1] == "model"
        path.write_text(right.replace(f"{MODEL}", f"{MODEL}, words: {{computer: {{threshold: 0.8}}}}"))
        running.process.send_signal(signal.SIGHUP)
        state = running.until(lambda state: threshold("computer")(state) == (0.8, "config"))
        assert state["refused"] is None and state["listening"]


def test_a_muted_microphone_is_closed(tmp_path: Path, broker: Mosquitto) -> None:
    with virtual_microphone(tmp_path) as microphone:
        config = "audio: {device: pulse, muted: true}\n"
        with run(tmp_path, broker, config, **microphone.environment) as running:
            for value, recorders in (("ON", 0), ("OFF", 1), ("ON", 0)):
                running.set("mute", value)
                if recorders:
                    running.until(lambda state: state["listening"] and state["microphone"] == "heard")
                elif recorded(microphone):
                    running.until(lambda state: not state["listening"] and state["microphone"] == "muted")
                assert recorded(microphone) == recorders
            running.process.terminate()
            logged = running.process.communicate(timeout=READY_S)[1]
    assert logged.count("the microphone is muted") == 2 and logged.count("hearing the microphone") == 1


def recorded(microphone: VirtualMicrophone) -> int:
    """How many record."""
    command = ["pactl", "list", "source-outputs"]
    found = subprocess.run(command, env=microphone.environment, capture_output=True, text=True, check=True, timeout=10)
    return len(re.findall(r"^Source Output #", found.stdout, re.MULTILINE))
