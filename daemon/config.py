"""One YAML file becomes one frozen `Config`: every key, its default and its range are here and nowhere else.

What is wrong with the file is said in one line, `file:line: what; did you mean 'x'?`. This module opens no device, no
model and no connection.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta, Struct

from daemon.detector import REFRACTORY_S
from daemon.document import Fault, compose, cut, entries, find, items, one_line, reason, shown, text_of
from daemon.naming import FALSE_ACCEPTANCE

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models" / "shipped"
SECRET = "mqtt.password"

# The types of the keys: what msgspec checks, and how a message names what would be right.
Text = Annotated[str, Meta(min_length=1, max_length=255, description="text of 1 to 255 characters")]
# A level of an MQTT topic: brokers cut off a client that sends wildcards, control characters or half a character.
TOPIC_LEVEL = re.compile(r"[^#+/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,64}")
Topic = Annotated[
    str,
    Meta(pattern=rf"\A{TOPIC_LEVEL.pattern}\Z", description="text of 1 to 64 characters without '#', '+' and '/'"),
]
Flag = Annotated[bool, Meta(description="true or false")]
Choice = Annotated[Literal["microphone", "file", "stdin"], Meta(description="microphone, file or stdin")]
Threshold = Annotated[float, Meta(gt=0, le=1, description="a number above 0 and at most 1")]
Refractory = Annotated[float, Meta(ge=0.5, le=60, description="seconds from 0.5 to 60")]
Age = Annotated[float, Meta(gt=0, le=3600, description="seconds above 0 and at most 3600")]
Keepalive = Annotated[int, Meta(ge=1, le=65535, description="whole seconds from 1 to 65535")]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port number from 1 to 65535")]
Share = Annotated[float, Meta(gt=0, le=0.5, description="a number above 0 and at most 0.5")]
File = Annotated[Path, Meta(description="the path of a file")]
FrameForm = Annotated[Literal["timed", "plain"], Meta(description="timed or plain")]
Person = Annotated[
    str,
    Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,64}\Z", description="a name of 1 to 64 characters"),
]
Stranger = Annotated[Literal["mark", "ignore"], Meta(description="mark or ignore")]
Version = Annotated[Literal["3.1.1", 5], Meta(description="3.1.1 or 5")]
Address = Annotated[
    str,
    Meta(pattern=r"\A[^:\s]{1,255}(:[0-9]{1,5})?\Z", description="a name or address, with :port if it is another one"),
]


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line that names the file, the line and the fault."""


class AudioConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the sound comes from."""

    source: Choice = "microphone"
    device: Text | None = None
    file: File | None = None
    realtime: Flag = True
    muted: Flag = False
    output: Text | None = None


class WordConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What the owner wants of one word; None is what the model says."""

    threshold: Threshold | None = None
    enabled: Flag = True
    id: Topic | None = None
    language: Text | None = None
    speakers: tuple[Person, ...] = ()
    strangers: Stranger = "ignore"


class WakeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The model, and which of its words count; no words mean all of them."""

    model: File = SHIPPED_MODELS / "six_words.plan"
    words: dict[str, WordConfig] = {}
    refractory_s: Refractory = REFRACTORY_S


class FeedbackConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The satellite's own sounds; None is one that comes with it."""

    enabled: Flag = False
    wake: File | None = None
    done: File | None = None
    error: File | None = None


class HermesConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What is said over the broker, and how, where programs differ."""

    frames: FrameForm = "timed"
    session_frames: Flag = False
    send_audio_captured: Flag | None = None
    voice_activity: Flag = False
    record_examples: Flag = False
    feedback: FeedbackConfig = FeedbackConfig()


class SpeakersConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Who can be named, and by what."""

    model: File | None = SHIPPED_MODELS / "speaker.plan"
    folder: File = Path("/var/lib/wakepulse/speakers")
    false_acceptance: Share = FALSE_ACCEPTANCE
    enrol_from_afar: Flag = False


class TlsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the link to the broker is kept private."""

    enabled: Flag = False
    ca_file: File | None = None
    certificate_file: File | None = None
    key_file: File | None = None
    server_name: Text | None = None


class MqttConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker, and what a detection is worth once it is late."""

    host: Text = "localhost"
    port: Port = 1883
    embedded: Flag = False
    username: Text | None = None
    password: Text | None = None
    password_file: File | None = None
    keepalive_s: Keepalive = 15
    client_id: Text | None = None
    max_event_age_s: Age = 5.0
    fallback: tuple[Address, ...] = ()
    version: Version = "3.1.1"
    tls: TlsConfig = TlsConfig()

    def brokers(self) -> list[tuple[str, int]]:
        """Names and ports, in the order in which they are tried."""
        split = [address.partition(":") for address in self.fallback]
        return [(self.host, self.port), *((name, int(port or self.port)) for name, _, port in split)]

    def secret(self) -> str | None:
        """The password, from `password_file` if that is set; `ConfigError` if the file cannot be read."""
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.password_file}: the password cannot be read: {reason(error)}") from None


class HomeAssistantConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether Home Assistant is told of the satellite, and where it looks."""

    discovery: Flag = False
    prefix: Topic = "homeassistant"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that an owner may set."""

    site_id: Topic = "default"
    group: Topic | None = None
    audio: AudioConfig = AudioConfig()
    wake: WakeConfig = WakeConfig()
    speakers: SpeakersConfig = SpeakersConfig()
    mqtt: MqttConfig = MqttConfig()
    hermes: HermesConfig = HermesConfig()
    home_assistant: HomeAssistantConfig = HomeAssistantConfig()


def load(path: Path | str) -> Config:
    """Read and check the file at `path`; paths in it are relative to its folder. `ConfigError` says what is wrong."""
    return _Reader(Path(path)).read()


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._loader = yaml.SafeLoader("")  # builds the leaves; safe: plain text, numbers, true, false and null

    def read(self) -> Config:
        try:
            root = compose(text_of(self._path))
            config = Config() if root is None else self._build(root, Config, "")
            assert isinstance(config, Config)
            _agree(config, root)
        except Fault as fault:
            place = "" if fault.line is None else f":{fault.line + 1}"
            raise ConfigError(f"{self._path}{place}: {one_line(str(fault))}") from None
        return config

    def _build(self, node: yaml.Node, kind: Any, where: str) -> object:
        """The value of `node` as `kind`: a section, a mapping from names to sections, or one key's value."""
        if isinstance(kind, type) and issubclass(kind, Struct):
            types = get_type_hints(kind, include_extras=True)
            built = {}
            for key, value in entries(node, where):
                if key.value not in types:
                    raise Fault(_unknown(key.value, where, list(types)), key.start_mark.line)
                built[key.value] = self._build(value, types[key.value], f"{where}{key.value}.")
            return kind(**built)
        if get_origin(kind) is dict:
            section = get_args(kind)[1]
            return {
                key.value: self._build(value, section, f"{where}{key.value}.") for key, value in entries(node, where)
            }
        if get_origin(kind) is tuple:
            item = get_args(kind)[0]
            return tuple(self._leaf(one, item, where.rstrip(".")) for one in items(node, where.rstrip(".")))
        return self._leaf(node, kind, where.rstrip("."))

    def _leaf(self, node: yaml.Node, kind: Any, name: str) -> object:
        exact = _exact(kind)
        description = ("" if exact is kind else "null, or ") + exact.__metadata__[0].description
        told = "a value that is not shown" if name == SECRET else shown(node.value)
        wrong = f"{name} must be {description}, not {told}"
        if not isinstance(node, yaml.ScalarNode):
            raise Fault(f"{name} must be {description}, not a list or a mapping", node.start_mark.line)
        try:
            value = self._loader.construct_object(node)
            result = msgspec.convert(value, kind, dec_hook=self._resolve)
        except (ValueError, OverflowError, yaml.YAMLError):  # a date with a 13th month, an integer of 5000 digits
            raise Fault(wrong + _hint(node, exact), node.start_mark.line) from None
        if isinstance(result, float) and not math.isfinite(result):
            raise Fault(wrong, node.start_mark.line)
        return result

    def _resolve(self, kind: type, value: object) -> object:
        """Relative to the file's folder; a bare name that is not there names a shipped model, if there is one."""
        if kind is not Path or not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("not a path")
        try:
            path = self._path.absolute().parent / Path(value).expanduser()
        except RuntimeError:  # the home of a user who is not known
            raise ValueError("not a path") from None
        shipped = SHIPPED_MODELS / value
        return shipped if Path(value).name == value and not path.exists() and shipped.exists() else path


def _agree(config: Config, root: yaml.Node | None) -> None:
    """What no single key can be blamed for."""
    if config.audio.source == "file" and config.audio.file is None:
        raise Fault("audio.source is file, but audio.file does not say which", find(root, "audio", "source"))
    for key, (host, port) in zip(
        ("host", *(["fallback"] * len(config.mqtt.fallback))), config.mqtt.brokers(), strict=True
    ):
        if key == "host" and ("/" in host or host.count(":") == 1):
            raise Fault(
                f"mqtt.host {shown(host)} is more than a name or an address; its port goes into mqtt.port",
                find(root, "mqtt", "host"),
            )
        try:
            host.encode("idna")
        except UnicodeError:
            raise Fault(f"mqtt.{key} {shown(host)} is no name of a host", find(root, "mqtt", key)) from None
        if not 1 <= port <= 65535:
            raise Fault(f"mqtt.{key} {shown(host)} has no port from 1 to 65535", find(root, "mqtt", key))
    if config.mqtt.password is not None and config.mqtt.password_file is not None:
        raise Fault("set mqtt.password or mqtt.password_file, not both", find(root, "mqtt", "password_file"))
    if config.mqtt.username is None and (config.mqtt.password or config.mqtt.password_file):
        raise Fault("a password is set, but mqtt.username is not", find(root, "mqtt", "password"))
    _agree_on_tls(config.mqtt.tls, root)
    _agree_on_effects(config, root)


def _agree_on_effects(config: Config, root: yaml.Node | None) -> None:
    """What is wanted, but could never be."""
    if config.hermes.feedback.enabled and config.audio.output is None:
        raise Fault("hermes.feedback.enabled needs audio.output", find(root, "hermes", "feedback", "enabled"))
    if config.speakers.enrol_from_afar and not config.hermes.record_examples:
        line = find(root, "speakers", "enrol_from_afar")
        raise Fault("speakers.enrol_from_afar needs hermes.record_examples", line)
    for name, word in config.wake.words.items():
        if word.strangers == "mark" and not word.speakers:
            line = find(root, "wake", "words", name, "strangers")
            raise Fault(f"wake.words.{cut(name)}.strangers is mark, but speakers names nobody", line)


def _agree_on_tls(tls: TlsConfig, root: yaml.Node | None) -> None:
    if tls != TlsConfig() and not tls.enabled:
        raise Fault("mqtt.tls.enabled is false, so that nothing else in mqtt.tls counts", find(root, "mqtt", "tls"))
    if tls.key_file is not None and tls.certificate_file is None:
        raise Fault("a key is set, but mqtt.tls.certificate_file is not", find(root, "mqtt", "tls", "key_file"))


def _unknown(key: str, where: str, known: list[str]) -> str:
    message = f"unknown key '{where}{cut(key)}'"
    near = difflib.get_close_matches(key.lower(), known, 1)
    if key.lower() not in known:
        near = [name for name in _names(Config, "") if name.rpartition(".")[2] == key.lower()] + near
    if near:
        return f"{message}; did you mean '{near[0]}'?"
    return f"{message}; the keys here are {', '.join(known)}"


def _names(kind: type[Struct], where: str) -> Iterator[str]:
    for name, field in get_type_hints(kind).items():
        yield where + name
        if isinstance(field, type) and issubclass(field, Struct):
            yield from _names(field, f"{where}{name}.")


def _exact(kind: Any) -> Any:
    """The type of a key that may also be null, without the null."""
    return kind if get_origin(kind) is Annotated else get_args(kind)[0]


def _hint(node: yaml.ScalarNode, kind: Any) -> str:
    if kind is Threshold:
        try:
            percent = float(node.value)
        except ValueError:
            return ""
        inside = f"did you mean {percent / 100:g}?" if 1 < percent <= 100 else "null takes the model's own"
        return f"; thresholds lie between 0 and 1; {inside}"
    choices = get_args(get_args(kind)[0]) if kind is Choice else ("true", "false") if kind is Flag else ()
    near = difflib.get_close_matches(node.value.lower(), choices, 1)
    if near:
        return f"; did you mean '{near[0]}'?"
    text = kind in (Text, Topic, File) and node.tag != "tag:yaml.org,2002:str" and node.value
    return "; put it in quotes" if text else ""
