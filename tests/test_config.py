"""A configuration is right, or one line says what is wrong and where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from daemon.config import SHIPPED_MODELS, Config, ConfigError, WordConfig, load
from daemon.document import MAX_FILE_BYTES

FOLDER = Path(__file__).resolve().parent.parent / "config"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


NO_HOST = "is more than a name or an address; its port goes into mqtt.port"


def refused(tmp_path: Path, content: str | bytes) -> str:
    """The message for this file, less its path."""
    path = tmp_path / "satellite.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:")


def accepted(tmp_path: Path, content: str | bytes) -> Config:
    path = tmp_path / "satellite.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(path)


def keys_of(kind: type[Struct], where: str = "") -> list[str]:
    names = []
    for name, field in get_type_hints(kind).items():
        nested = isinstance(field, type) and issubclass(field, Struct)
        names += keys_of(field, f"{where}{name}.") if nested else [where + name]
    return names


def test_satellite_yaml_sets_every_key_to_its_default() -> None:
    def written(tree: dict, where: str = "") -> list[str]:
        names = []
        for name, value in tree.items():
            names += written(value, f"{where}{name}.") if isinstance(value, dict) and value else [where + name]
        return names

    tree = yaml.safe_load((FOLDER / "satellite.yaml").read_text("utf-8"))
    assert written(tree) == keys_of(Config)
    assert load(FOLDER / "satellite.yaml") == Config()


def test_satellite_yaml_explains_every_key() -> None:
    lines = (FOLDER / "satellite.yaml").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        key, colon, value = line.partition(":")
        if colon and value and not key.strip().startswith("#"):
            assert lines[number - 1].strip().startswith("#"), f"{key.strip()} has no word of why above it"
    for name in WordConfig.__struct_fields__:
        assert f"# {name}: " in (FOLDER / "satellite.yaml").read_text("utf-8") or f". {name}: " in " ".join(lines)


def test_demo_plays_a_recording_to_a_broker_of_its_own() -> None:
    config = load(FOLDER / "demo.yaml")
    assert (config.site_id, config.audio.source, config.audio.realtime) == ("demo", "file", True)
    assert config.audio.file == FOLDER / "demo.wav"
    assert config.mqtt.embedded


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "audio:\nwake:\n", "audio: {}\n"])
def test_nothing_set_means_all_defaults(tmp_path: Path, content: str) -> None:
    assert accepted(tmp_path, content) == Config()


def test_values_arrive(tmp_path: Path) -> None:
    config = accepted(
        tmp_path,
        "site_id: Küche\naudio: {source: stdin, device: 'USB', realtime: no}\n"
        "wake:\n  model: a/my.plan\n  refractory_s: 2\n"
        "  words:\n    up: {threshold: 0.8}\n    down: {enabled: false}\n    on:\n    007: {threshold: 1}\n"
        "mqtt: {host: broker.local, port: 8883, username: me, password: s3cret, max_event_age_s: 0.5}\n",
    )
    assert config.site_id == "Küche"
    assert (config.audio.source, config.audio.device, config.audio.realtime) == ("stdin", "USB", False)
    assert config.wake.model == tmp_path / "a" / "my.plan"
    assert config.wake.refractory_s == 2.0 and isinstance(config.wake.refractory_s, float)
    assert config.wake.words == {
        "up": WordConfig(threshold=0.8),
        "down": WordConfig(enabled=False),
        "on": WordConfig(),  # which YAML alone would read as true
        "007": WordConfig(threshold=1.0),
    }
    assert (config.mqtt.port, config.mqtt.secret(), config.mqtt.max_event_age_s) == (8883, "s3cret", 0.5)


def test_files_of_other_systems_are_understood(tmp_path: Path) -> None:
    assert accepted(tmp_path, b"\xef\xbb\xbfsite_id: hall\r\nmqtt:\r\n  port: 1884\r\n").mqtt.port == 1884


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "satellite.yaml").write_text("audio: {source: file, file: ../a.wav}\nwake: {model: /m.plan}\n")
    monkeypatch.chdir(tmp_path)
    config = load("satellite.yaml")
    assert config.audio.file is not None and config.audio.file.is_absolute()
    assert config.audio.file.resolve() == tmp_path.parent / "a.wav"
    assert config.wake.model == Path("/m.plan")


def test_a_bare_model_name_is_beside_the_file_or_shipped(tmp_path: Path) -> None:
    shipped = next(path for path in sorted(SHIPPED_MODELS.iterdir()) if path.is_file())
    content = f"wake: {{model: {shipped.name}}}\n"
    assert accepted(tmp_path, content).wake.model == shipped
    (tmp_path / shipped.name).touch()
    assert accepted(tmp_path, content).wake.model == tmp_path / shipped.name
    assert accepted(tmp_path, "wake: {model: nowhere.plan}").wake.model == tmp_path / "nowhere.plan"


def test_the_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass word\n")
    config = accepted(tmp_path, "mqtt: {username: me, password_file: secret}\n")
    assert config.mqtt.secret() == "pass word"
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigError, match="secret: the password cannot be read: No such file or directory"):
        config.mqtt.secret()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("site_id: a\nmqtt:\n  prot: 1883\n", "3: unknown key 'mqtt.prot'; did you mean 'port'?"),
        ("Audio:\n", "1: unknown key 'Audio'; did you mean 'audio'?"),
        ("\nport: 1883\n", "2: unknown key 'port'; did you mean 'mqtt.port'?"),
        ("mqtt: {site_id: a}\n", "1: unknown key 'mqtt.site_id'; did you mean 'site_id'?"),
        (
            "audio: {zzz: 1}\n",
            "1: unknown key 'audio.zzz'; the keys here are source, device, file, realtime, muted, output",
        ),
        (
            "wake:\n  words:\n    up: {treshold: 1}\n",
            "3: unknown key 'wake.words.up.treshold'; did you mean 'threshold'?",
        ),
        (
            "<<: 3\n",
            "1: unknown key '<<'; the keys here are "
            "site_id, group, audio, wake, speakers, mqtt, hermes, home_assistant",
        ),
        ("mqtt:\n  port: '1883'\n", "2: mqtt.port must be a port number from 1 to 65535, not '1883'"),
        ("mqtt:\n  port: 70000\n", "2: mqtt.port must be a port number from 1 to 65535, not '70000'"),
        ("mqtt:\n  port: 18.5\n", "2: mqtt.port must be a port number from 1 to 65535, not '18.5'"),
        ("mqtt:\n  port:\n", "2: mqtt.port must be a port number from 1 to 65535, not ''"),
        ("mqtt: {host: [a]}\n", "1: mqtt.host must be text of 1 to 255 characters, not a list or a mapping"),
        ("mqtt: {host: ''}\n", "1: mqtt.host must be text of 1 to 255 characters, not ''"),
        ("mqtt: {host: 12}\n", "1: mqtt.host must be text of 1 to 255 characters, not '12'; put it in quotes"),
        (
            "audio: {device: 1}\n",
            "1: audio.device must be null, or text of 1 to 255 characters, not '1'; put it in quotes",
        ),
        (
            "audio: {source: microfone}\n",
            "1: audio.source must be microphone, file or stdin, not 'microfone'; did you mean 'microphone'?",
        ),
        ("audio: {realtime: ture}\n", "1: audio.realtime must be true or false, not 'ture'; did you mean 'true'?"),
        ("audio: {realtime: 1}\n", "1: audio.realtime must be true or false, not '1'"),
        (
            "mqtt:\n  password: 1234\n",
            "2: mqtt.password must be null, or text of 1 to 255 characters, not a value that is not shown; put "
            "it in quotes",
        ),
        (
            "wake: {words: {up: {threshold: 85}}}\n",
            "1: wake.words.up.threshold must be null, or a number above 0 and at most 1, not '85'; thresholds "
            "lie between 0 and 1; did you mean 0.85?",
        ),
        (
            "wake: {words: {up: {threshold: 0}}}\n",
            "1: wake.words.up.threshold must be null, or a number above 0 and at most 1, not '0'; thresholds "
            "lie between 0 and 1; null takes the model's own",
        ),
        (
            "wake: {words: {up: {threshold: .nan}}}\n",
            "1: wake.words.up.threshold must be null, or a number above 0 and at most 1, not '.nan'",
        ),
        ("wake: {words: {up: 0.5}}\n", "1: wake.words.up must hold lines of the form 'key: value'"),
        ("wake: {words: [up]}\n", "1: wake.words must hold lines of the form 'key: value'"),
        ("wake: {refractory_s: .inf}\n", "1: wake.refractory_s must be seconds from 0.5 to 60, not '.inf'"),
        ("wake: {refractory_s: 2020-13-45}\n", "1: wake.refractory_s must be seconds from 0.5 to 60, not '2020-13-45'"),
        ("wake: {model: 2020-01-01}\n", "1: wake.model must be the path of a file, not '2020-01-01'; put it in quotes"),
        ("wake: {model: ''}\n", "1: wake.model must be the path of a file, not ''"),
        (
            "mqtt: {port: 1" + "0" * 5000 + "}\n",
            "1: mqtt.port must be a port number from 1 to 65535, not '1" + "0" * 59 + "...'",
        ),
        ("site_id: a/b\n", "1: site_id must be text of 1 to 64 characters without '#', '+' and '/', not 'a/b'"),
        (
            "site_id: 'a\\nb#'\n",
            "1: site_id must be text of 1 to 64 characters without '#', '+' and '/', not 'a\\\\nb#'",
        ),
        ("site_id: a\nmqtt: {}\nsite_id: b\n", "3: site_id is set twice, first in line 1"),
        ("[1]: 2\n", "1: a key must be plain text"),
        ("- a\n- b\n", "1: the file must hold lines of the form 'key: value'"),
        ("hello\n", "1: the file must hold lines of the form 'key: value'"),
        ("mqtt:\n\tport: 1883\n", "2: has a tab; YAML indents with spaces"),
        ("mqtt:\n  host: a,\n  port: 1883,\n", "3: mqtt.port must be a port number from 1 to 65535, not '1883,'"),
        ("mqtt: {host: a\nsite_id: b\n", "2: is not valid YAML: expected ',' or '}', but got ':'"),
        ("mqtt:\n host: “a”\n", "2: has a typographic quote; type a straight ' or \" instead"),
        ("mqtt:\n\u00a0 host: a\n", "2: has an invisible character (U+00A0); type a plain space instead"),
        ("a: 1\n---\nb: 2\n", "2: is not valid YAML: but found another document"),
        (BOMB, "1: anchors (&) and aliases (*) are not used here; quote a text that starts so"),
        ("site_id: *x\n", "1: anchors (&) and aliases (*) are not used here; quote a text that starts so"),
        ("site_id: !!python/name:os.system x\n", "1: tags (!) are not used here; quote a text that starts so"),
        ("site_id: " + "[" * 9 + "]" * 9, "1: is nested more than 8 deep"),
        ("site_id: " + "[" * 60_000, "1: is nested more than 8 deep"),
        (b"site_id: a\nmqtt: {host: \x00}\n", "2: has a control character (U+0000)"),
        (b"# caf\xe9\n", "1: is not UTF-8 text; save it as UTF-8"),
        (b"site_id: a\n# \xff\n", "2: is not UTF-8 text; save it as UTF-8"),
        ("site_id: a\n".encode("utf-16"), " is stored as UTF-16; save it as UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), " is larger than 64 KB; this is no configuration"),
        ("audio:\n  source: file\n", "2: audio.source is file, but audio.file does not say which"),
        ("mqtt:\n  host: hub.local:1884\n", f"2: mqtt.host 'hub.local:1884' {NO_HOST}"),
        ("mqtt: {host: 'mqtt://hub.local'}\n", f"1: mqtt.host 'mqtt://hub.local' {NO_HOST}"),
        ("audio: {file: ~nobodyx/a}\n", "1: audio.file must be null, or the path of a file, not '~nobodyx/a'"),
        ("hermes:\n  feedback: {enabled: true}\n", "2: hermes.feedback.enabled needs audio.output"),
        ("speakers: {enrol_from_afar: true}\n", "1: speakers.enrol_from_afar needs hermes.record_examples"),
        ("wake: {words: {up: {strangers: mark}}}\n", "1: wake.words.up.strangers is mark, but speakers names nobody"),
        ("mqtt:\n  password: a\n  password_file: b\n", "3: set mqtt.password or mqtt.password_file, not both"),
        ("mqtt:\n  password: a\n", "2: a password is set, but mqtt.username is not"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refused(tmp_path, content) == message


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"


def test_what_is_not_a_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is not a file"):
            load(path)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="aueimqt:_ \n\t{}[]&*!-#'\"0123456789.", max_size=80))
@example("site_id: !!int x")
@example("? a\n: b")
@example("site_id: |\n  a\n  b\n")
@example("mqtt: {port: 0x_}")
@example("%YAML 9.9\n---\na: b")
def test_any_text_is_a_configuration_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load(path), Config)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:") and "\n" not in str(error)
