"""The satellite as Home Assistant's MQTT integration describes a device: one message with all its entities.

Keys and rules are those of device-based discovery, https://www.home-assistant.io/integrations/mqtt. What an entity
shows comes from topics that everybody may read; for Home Assistant alone are `wake`, the wake word as an event, and
`diagnostics`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon import messages

Component = dict[str, Any]

STEP = 0.005  # of a threshold
STATES = ["listening", "off", "muted", "away", "waiting"]
STATE = (
    "{{ 'listening' if value_json.listening"
    " else 'off' if value_json.microphone == 'heard' else value_json.microphone }}"
)
SPEAKER = "{{ value_json.speaker | default('unknown', true) }}"
MEASURED: Component = {"state_class": "measurement"}
COUNTED: Component = {"state_class": "total_increasing", "entity_category": "diagnostic"}
DIAGNOSTIC: Component = {"entity_category": "diagnostic"}


@dataclass(frozen=True)
class Device:
    """One satellite in Home Assistant."""

    site_id: str
    software: str  # its version

    def config_topic(self, prefix: str) -> str:
        """Where Home Assistant looks for `description`."""
        return f"{prefix}/device/{_plain(f'wakepulse_{self.site_id}')}/config"

    @property
    def wake_topic(self) -> str:
        """Where it hears of a wake word: an event, never retained."""
        return f"wakepulse/{self.site_id}/wake"

    @property
    def diagnostics_topic(self) -> str:
        """Where it hears how the satellite fares."""
        return f"wakepulse/{self.site_id}/diagnostics"

    def description(self, words: Mapping[str, bool]) -> dict[str, Any]:
        """The device and its entities; `words`, by their ids, with whether each is listened for."""
        device: Component = {
            "identifiers": [f"wakepulse_{self.site_id}"],
            "name": f"wakepulse {self.site_id}",
            "manufacturer": "wakepulse",
            "model": "voice satellite",
            "sw_version": self.software,
        }
        if self.site_id != messages.DEFAULT_SITE:
            device["suggested_area"] = self.site_id
        # An entity of which no more is said than its platform is taken away, if it was there.
        thresholds = {
            f"threshold_{_plain(word)}": self._threshold(word) if listened_for else {"platform": "number"}
            for word, listened_for in words.items()
        }
        return {
            "device": device,
            "origin": {"name": "wakepulse", "sw_version": self.software},
            "availability": [{"topic": messages.availability(self.site_id)}],
            "components": self._words(list(words)) | self._switches() | thresholds | self._sensors(),
        }

    def _entity(self, key: str, name: str, platform: str, **more: Any) -> Component:
        slug = re.sub(r"[^a-z0-9]+", "_", f"wakepulse {self.site_id} {name}".lower()).strip("_")
        return {
            "platform": platform,
            "name": name,
            "unique_id": f"wakepulse_{self.site_id}_{key}",
            "default_entity_id": f"{platform}.{slug}",
            **more,
        }

    def _words(self, words: list[str]) -> dict[str, Component]:
        return {"wake": self._entity("wake", "Wake word", "event", state_topic=self.wake_topic, event_types=words)}

    def _switches(self) -> dict[str, Component]:
        off = "'switch' in value_json.off or 'user' in value_json.off"
        return {
            "listen": self._switch("listen", "Listen", f"'OFF' if {off} else 'ON'"),
            "mute": self._switch("mute", "Mute", "'ON' if value_json.microphone == 'muted' else 'OFF'"),
        }

    def _switch(self, key: str, name: str, value: str) -> Component:
        command = {"command_topic": f"wakepulse/{self.site_id}/set/{key}"}
        state = {"state_topic": messages.state(self.site_id), "value_template": f"{{{{ {value} }}}}"}
        return self._entity(key, name, "switch", **command, **state)

    def _threshold(self, word: str) -> Component:
        # The word's id is a text in a template; JSON's escapes are those of Jinja, but for braces.
        quoted = json.dumps(word, ensure_ascii=False).replace("{", "\\x7b").replace("}", "\\x7d")
        mine = f"(value_json.words[{quoted}] | default({{}}))"
        state = messages.state(self.site_id)
        return self._entity(
            f"threshold_{word}",
            f"Threshold {word.replace('_', ' ')}",
            "number",
            command_topic=f"wakepulse/{self.site_id}/set/threshold/{word}",
            state_topic=state,
            value_template=f"{{{{ {mine}.threshold | default('None') }}}}",
            json_attributes_topic=state,
            json_attributes_template=f"{{{{ {mine} | tojson }}}}",
            min=STEP,
            max=1,
            step=STEP,
            mode="slider",
            entity_category="config",
        )

    def _sensors(self) -> dict[str, Component]:
        state, speaker = messages.state(self.site_id), f"wakepulse/{self.site_id}/speaker"
        who = {"value_template": SPEAKER, "json_attributes_topic": speaker}
        doing = {"device_class": "enum", "options": STATES, "value_template": STATE, "json_attributes_topic": state}
        memory = MEASURED | {"device_class": "data_size", "unit_of_measurement": "MB"}
        return {
            "speaker": self._sensor("speaker", "Last speaker", speaker, **who),
            "score": self._sensor("score", "Last score", self.wake_topic, **MEASURED),
            "state": self._sensor("state", "State", state, **doing, **DIAGNOSTIC),
            "level": self._sensor("level", "Level", self.diagnostics_topic, unit_of_measurement="dB", **MEASURED),
            "memory": self._sensor("memory", "Peak memory", self.diagnostics_topic, **memory, **DIAGNOSTIC),
            "gaps": self._sensor("gaps", "Gaps in the sound", self.diagnostics_topic, **COUNTED),
            "dropped": self._sensor("dropped", "Dropped messages", self.diagnostics_topic, **COUNTED),
        }

    def _sensor(self, key: str, name: str, topic: str, **more: Any) -> Component:
        shown: Component = {"value_template": f"{{{{ value_json.{key} }}}}"} | more
        return self._entity(key, name, "sensor", state_topic=topic, **shown)


def _plain(text: str) -> str:
    """A text as a level of a discovery topic, which takes letters, digits, - and _; different for different texts."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", text)
    return plain if plain == text else f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"
