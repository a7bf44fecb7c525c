"""The messages of the Hermes protocol that a satellite sends and obeys, as bytes on topics.

Payloads and topics are those of snipsco/hermes-protocol and rhasspy/rhasspy-hermes; what Hermes does not have lives
under `wakepulse/`. Hermes' rule for sites: a message that names none is for the site `default`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from daemon.config import TOPIC_LEVEL
from daemon.detector import Detection
from daemon.features import SAMPLE_RATE
from daemon.link import Handler, Message
from daemon.words import Word

log = logging.getLogger(__name__)

ONLINE, OFFLINE = b"online", b"offline"
DEFAULT_SITE = "default"


class Command(Struct, frozen=True, rename="camel"):
    """What every command has."""

    site_id: str | None = DEFAULT_SITE


class Toggle(Command, frozen=True, rename="camel"):
    """`hermes/hotword/toggleOn` and `toggleOff`; Snips gives a session, and no reason."""

    reason: str | None = ""
    session_id: str | None = None


class Query(Command, frozen=True, rename="camel"):
    """A question with an id that the answer repeats."""

    id: str | None = None


class SessionCommand(Command, frozen=True, rename="camel"):
    """What is about a session: `hermes/asr/stopListening`, `hermes/dialogueManager/sessionStarted` and their like."""

    session_id: Annotated[str, Meta(max_length=255)] | None = None


class StartListening(SessionCommand, frozen=True, rename="camel"):
    """`hermes/asr/startListening`."""

    start_signal_ms: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None


class ReplayRequest(Command, frozen=True, rename="camel", kw_only=True):
    """`hermes/audioServer/<site>/replayRequest`."""

    request_id: Annotated[str, Meta(max_length=255)]
    start_at_ms: Annotated[int, Meta(ge=-(2**62), le=2**62)]


class SetVolume(Command, frozen=True, rename="camel", kw_only=True):
    """`rhasspy/audioServer/setVolume`."""

    volume: Annotated[float, Meta(ge=0, le=1)]


class GetDevices(Query, frozen=True, rename="camel"):
    """`rhasspy/audioServer/getDevices`."""

    modes: tuple[Literal["input", "output"], ...] = ("input", "output")


class RecordExample(Command, frozen=True, rename="camel", kw_only=True):
    """`rhasspy/hotword/recordExample`; the speaker is ours."""

    id: Annotated[str, Meta(pattern=rf"\A{TOPIC_LEVEL.pattern}\Z")]
    speaker: str | None = None  # whom it is an example of, to be enrolled


AnyCommand = TypeVar("AnyCommand", bound=Command)


def addressed(site_id: str, kind: type[AnyCommand], act: Callable[[AnyCommand], None]) -> Handler:
    """A handler that decodes a command and lets `act` obey it, if it is for this site; nonsense is said once."""
    decoder = msgspec.json.Decoder(kind)
    complained = False

    def handle(message: Message) -> None:
        nonlocal complained
        try:
            command = decoder.decode(message.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if not complained:
                log.warning("cannot understand what came on %s: %s", message.topic, error)
            complained = True
            return
        if (command.site_id or DEFAULT_SITE) == site_id:
            act(command)

    return handle


@dataclass(frozen=True)
class Wake:
    """A detection with all that its message says of it."""

    detection: Detection
    word: Word
    model_version: str
    newest_sample: int  # that had been heard when it was detected: what is before it is in the past
    heard_ns: int  # wall clock at that sample, for display only
    during_session: bool = False  # a dialogue is open at this site
    send_audio_captured: bool | None = None
    speakers: Sequence[tuple[str | None, float]] = ()  # name, or None for somebody unknown, and confidence; best first

    @property
    def allowed(self) -> bool:
        """Whether whoever said the word may do so, as far as that is known."""
        return not self.speakers or self.word.may_say(self.speakers[0][0])

    def unix_ms(self, sample: int) -> int:
        """The wall-clock time of a sample, in milliseconds since 1970."""
        return self.heard_ns // 1_000_000 - (self.newest_sample - sample) * 1000 // SAMPLE_RATE


def detected(site_id: str, wake: Wake) -> tuple[str, bytes]:
    """`hermes/hotword/<id>/detected`."""
    detection, word = wake.detection, wake.word
    payload = {
        "siteId": site_id,
        "modelId": word.id,
        "modelVersion": wake.model_version,
        "modelType": "universal",
        "currentSensitivity": word.sensitivity,
        "detectionSignalMs": wake.unix_ms(detection.sample),
        "endSignalMs": wake.unix_ms(detection.end_sample),
        "sessionId": None,
        "sendAudioCaptured": wake.send_audio_captured,
        "lang": word.language,
        "customEntities": None,
    }
    if wake.during_session:
        payload["duringSession"] = True
    if wake.speakers:
        name = wake.speakers[0][0]
        payload["customEntities"] = {"speaker": name} if name else None
        payload["speakerHypotheses"] = _hypotheses(wake)
        if not wake.allowed:
            payload["speakerAllowed"] = False
    return f"hermes/hotword/{word.id}/detected", msgspec.json.encode(payload)


def cancelled(site_id: str, word: str, first: str) -> tuple[str, bytes]:
    """Our own topic: a word that was said to be heard is answered by another site, which was first."""
    payload = {"siteId": site_id, "modelId": word, "first": first}
    return f"wakepulse/{site_id}/cancelled", msgspec.json.encode(payload)


def speaker(site_id: str, wake: Wake, seconds: float) -> tuple[str, bytes]:
    """Our own topic: who said a word, once so many seconds were heard from its start on."""
    payload = {
        "siteId": site_id,
        "modelId": wake.word.id,
        "detectionSignalMs": wake.unix_ms(wake.detection.sample),
        "speaker": wake.speakers[0][0],
        "speakerHypotheses": _hypotheses(wake),
        "seconds": round(seconds, 1),
    }
    return f"wakepulse/{site_id}/speaker", msgspec.json.encode(payload)


def _hypotheses(wake: Wake) -> list[dict[str, object]]:
    return [{"name": name, "confidence": value} for name, value in wake.speakers]


def availability(site_id: str) -> str:
    """Our own retained topic: `online` while this satellite hears, `offline`, the will, otherwise."""
    return f"wakepulse/{site_id}/availability"


def state(site_id: str) -> str:
    """Our own retained topic: whether it listens, or what keeps it from that, and with what."""
    return f"wakepulse/{site_id}/state"


def error(site_id: str, text: str, context: str, session_id: str | None = None) -> bytes:
    """The payload of every error message."""
    return msgspec.json.encode({"error": text, "siteId": site_id, "context": context, "sessionId": session_id})
