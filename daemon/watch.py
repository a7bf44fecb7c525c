"""Hermes traffic as lines that a person reads, in the manner of snips-watch.

Whatever is on the broker may come from anybody: lines are bounded, and nothing in them moves a terminal's cursor.
Sound is told, not shown: how much, how loud, and for frames that stream, once a second.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from paho.mqtt.client import topic_matches_sub

from daemon.messages import DEFAULT_SITE
from daemon.recording import RecordingError, header

TOPICS = ("hermes/#", "rhasspy/#", "wakepulse/#")
MAX_LINE = 400  # characters
MAX_VALUE = 120  # characters of one value
MAX_READ = 64 * 1024  # bytes of a payload that are taken for text
MAX_NESTED = 500  # lists and objects of what is taken for JSON
DEPTH = 2  # of keys within keys that are shown by name
STREAM_S = 1.0  # of frames that become one line
FRAMES = ("hermes/audioServer/+/audioFrame", "hermes/audioServer/+/+/audioSessionFrame")
SITE_IN_TOPIC = (
    "hermes/audioServer/+/+/#",
    "hermes/voiceActivity/+/#",
    "rhasspy/asr/+/+/audioCaptured",
    "rhasspy/hotword/+/exampleRecorded/+",
    "wakepulse/+/#",
)
CLAIMS = "wakepulse/group/+/claim"
MAX_STREAMS = 100  # sites whose frames are counted apart
KEY, OPTIONAL = r"\{([\w.]+)\}", r"\[(.*?)\]"  # of a sentence

# What a message says. {key} is a key of its JSON, {payload} all of what is no JSON, {2} a level of its topic; what
# stands in [brackets] is left out where one of its keys is missing.
SENTENCES = {
    "hermes/hotword/+/detected": "heard {modelId}[, sensitivity {currentSensitivity}][, spoken by {speaker}]",
    "hermes/hotword/toggleOn": "the wake word may be heard again[, reason {reason}]",
    "hermes/hotword/toggleOff": "the wake word is not to be heard[, reason {reason}]",
    "hermes/hotword/+/loaded": "{2} is loaded",
    "hermes/hotword/+/error": "ERROR of {2}: {error}[ ({context})]",
    "hermes/error/+": "ERROR of {2}: {error}[ ({context})]",
    "hermes/error/+/+": "ERROR of {2}, {3}: {error}[ ({context})]",
    "hermes/asr/startListening": "asked to listen to speech[, session {sessionId}]",
    "hermes/asr/stopListening": "asked to listen no more[, session {sessionId}]",
    "hermes/asr/toggleOn": "speech recognition is on[, reason {reason}]",
    "hermes/asr/toggleOff": "speech recognition is off[, reason {reason}]",
    "hermes/asr/partialTextCaptured": 'understands "{text}" so far',
    "hermes/asr/textCaptured": 'understood "{text}"[, likelihood {likelihood}][, spoken by {speaker}]',
    "hermes/nlu/query": 'asked what "{input}" means',
    "hermes/nlu/intentNotRecognized": 'does not know what "{input}" means',
    "hermes/intent/+": 'intent {2}[, from "{input}"][, confidence {intent.confidenceScore}]',
    "hermes/dialogueManager/startSession": "asked for a session[ of {init.type}][: {init.text}]",
    "hermes/dialogueManager/continueSession": "session {sessionId} goes on[: {text}]",
    "hermes/dialogueManager/endSession": "asked to end session {sessionId}[: {text}]",
    "hermes/dialogueManager/sessionQueued": "session {sessionId} waits",
    "hermes/dialogueManager/sessionStarted": "session {sessionId} began",
    "hermes/dialogueManager/sessionEnded": "session {sessionId} ended[: {termination.reason}][, {termination.error}]",
    "hermes/dialogueManager/intentNotRecognized": 'nothing was understood[ of "{input}"][, session {sessionId}]',
    "hermes/tts/say": 'asked to say "{text}"',
    "hermes/tts/sayFinished": "has said it[, {id}]",
    "hermes/audioServer/toggleOn": "sound output is on",
    "hermes/audioServer/toggleOff": "sound output is off",
    "hermes/audioServer/+/playFinished": "has played[ {id}]",
    "hermes/audioServer/+/streamFinished": "has played the stream[ {id}]",
    "hermes/audioServer/+/replayRequest": "asked for past sound from {startAtMs} on[, request {requestId}]",
    "hermes/voiceActivity/+/vadUp": "somebody speaks",
    "hermes/voiceActivity/+/vadDown": "nobody speaks",
    "hermes/feedback/sound/toggleOn": "feedback sounds are on",
    "hermes/feedback/sound/toggleOff": "feedback sounds are off",
    "wakepulse/+/availability": "is {payload}",
    "wakepulse/+/cancelled": "takes {modelId} back, which {first} answers",
    CLAIMS: "claims {modelId} in group {2}[, score {score}][, level {levelDb} dB]",
}


@dataclass
class _Streamed:
    """Frames of one site that were not told yet."""

    since: float
    frames: int = 0
    seconds: float = 0.0
    loudness: float = 0.0  # sum of the frames' mean squares, full scale being 1


class Watch:
    """Messages in, lines out; of all sites, or of one."""

    def __init__(self, site: str | None = None) -> None:
        self._site = site
        self._streams: dict[str, _Streamed] = {}

    def push(self, topic: str, payload: bytes, now: float, *, retained: bool = False) -> Iterator[str]:
        """Take a message that came at `now`, in seconds since 1970; give the lines that are due."""
        yield from self.due(now)
        content = _content(payload)
        site = site_of(topic, content)
        if self._site not in (None, site):
            return
        if _is_one_of(topic, FRAMES) and len(self._streams) < MAX_STREAMS and (frame := _sound(payload)):
            self._count(site, frame, now)
        else:
            said = _said(topic, content, payload)
            yield _line(now, site, topic, f"{said} (retained)" if retained else said)

    def due(self, now: float, *, at_once: bool = False) -> Iterator[str]:
        """The lines on sound that has been streaming for long enough, or on all of it."""
        for site, told in list(self._streams.items()):
            if at_once or not 0 <= now - told.since < STREAM_S:
                del self._streams[site]
                what = f"{told.frames} frames, {told.seconds:.2f} s{_level(told.loudness / told.frames)}"
                yield _line(now, site, FRAMES[0], f"streams sound: {what}")

    def _count(self, site: str, frame: _Sound, now: float) -> None:
        streamed = self._streams.setdefault(site, _Streamed(now))
        streamed.frames += 1
        streamed.seconds += frame.seconds
        streamed.loudness += frame.loudness


@dataclass(frozen=True)
class _Sound:
    """A WAV file in few words."""

    rate: int
    channels: int
    seconds: float
    loudness: float  # mean square, full scale being 1


def site_of(topic: str, content: Mapping[str, Any] | str | None) -> str:
    """The site that a message is about: of its topic or its JSON; the one called default if neither says."""
    levels = topic.split("/")
    if _is_one_of(topic, SITE_IN_TOPIC) and not topic_matches_sub(CLAIMS, topic):
        return levels[1 if levels[0] == "wakepulse" else 2]
    site = content.get("siteId") if isinstance(content, Mapping) else None
    return site if isinstance(site, str) else DEFAULT_SITE


def _content(payload: bytes) -> dict[str, Any] | str | None:
    """The JSON object, or else the text; None for what is neither."""
    if len(payload) > MAX_READ or payload.startswith(b"RIFF"):
        return None
    try:
        text = payload.decode()
        content = json.loads(text) if text.count("{") + text.count("[") < MAX_NESTED else text
    except UnicodeDecodeError:
        return None
    except ValueError:
        return text
    return content if isinstance(content, dict) else text


def _said(topic: str, content: Mapping[str, Any] | str | None, payload: bytes) -> str:
    if content is None:
        sound = _sound(payload)
        return f"{_rest(topic)}: {_described(sound) if sound else 'binary'}, {len(payload)} bytes"
    fields = {"payload": content} if isinstance(content, str) else dict(_flat(content, "", DEPTH))
    levels = {str(place): level for place, level in enumerate(topic.split("/"))}
    for pattern, sentence in SENTENCES.items():
        if topic_matches_sub(pattern, topic) and (said := _filled(sentence, fields | levels)) is not None:
            return said
    if isinstance(content, str):
        return f"{_rest(topic)} {_cut(content)}"
    return " ".join([_rest(topic), *(f"{key}={_cut(value)}" for key, value in fields.items() if key != "siteId")])


def _flat(content: Mapping[str, Any], where: str, depth: int) -> Iterator[tuple[str, str]]:
    """The keys, and keys within keys, that have a value, with that value as text."""
    for key, value in content.items():
        if isinstance(value, Mapping) and depth > 1:
            yield from _flat(value, f"{where}{key}.", depth - 1)
        elif value is not None and value != "":
            yield f"{where}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    hypotheses = content.get("speakerHypotheses")
    if isinstance(hypotheses, list) and hypotheses and isinstance(hypotheses[0], Mapping):
        yield "speaker", str(hypotheses[0].get("name") or "somebody unknown")


def _filled(sentence: str, fields: Mapping[str, str]) -> str | None:
    """The sentence with its keys replaced; None if one that it needs is missing."""
    if not all(key in fields for key in re.findall(KEY, re.sub(OPTIONAL, "", sentence))):
        return None

    def fill(part: re.Match[str]) -> str:
        optional, key = part.groups()
        return _cut(fields[key]) if optional is None else _filled(optional, fields) or ""

    return re.sub(f"{OPTIONAL}|{KEY}", fill, sentence)


def _sound(payload: bytes) -> _Sound | None:
    """What a WAV file holds; None if it is none."""
    try:
        wav = header(payload)
        samples = wav.fetch(0, wav.length) / 32768
    except RecordingError:
        return None
    return _Sound(wav.rate, wav.channels, wav.length / wav.rate, float(np.mean(samples**2)) if wav.length else 0.0)


def _described(sound: _Sound) -> str:
    return f"{sound.seconds:.2f} s of sound, {sound.rate} Hz, {sound.channels} channel(s){_level(sound.loudness)}"


def _level(loudness: float) -> str:
    return f", {10 * math.log10(loudness):.0f} dB" if loudness else ", silence"


def _rest(topic: str) -> str:
    return topic.split("/", 2)[-1]


def _is_one_of(topic: str, patterns: tuple[str, ...]) -> bool:
    return any(topic_matches_sub(pattern, topic) for pattern in patterns)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "..."


def _line(now: float, site: str, topic: str, said: str) -> str:
    clock = datetime.fromtimestamp(now).isoformat(" ", "milliseconds").partition(" ")[2]
    part = topic.split("/")[1] if "/" in topic and not topic.startswith("wakepulse/") else "wakepulse"
    line = f"{clock}  {_cut(site):<12} {_cut(part):<16} {said}"
    line = line if len(line) <= MAX_LINE else line[:MAX_LINE] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
