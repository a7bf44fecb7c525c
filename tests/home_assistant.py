"""The rules of Home Assistant's MQTT integration for what this satellite describes, as it publishes them.

https://www.home-assistant.io/integrations/mqtt (device discovery) and the pages of event, number, sensor and switch.
Home Assistant passes over keys that it does not know; here they are refused, because each is a slip of the pen.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Topic = Annotated[str, Meta(pattern=r"\A[^#+\x00]{1,255}\Z")]  # to publish on; subscribing to one is as well
Text = Annotated[str, Meta(min_length=1, max_length=255)]
Category = Literal["config", "diagnostic"]


class Origin(Struct, forbid_unknown_fields=True):
    name: Text
    sw_version: Text


class DeviceInfo(Struct, forbid_unknown_fields=True):
    identifiers: Annotated[list[Text], Meta(min_length=1)]  # or connections
    name: Text
    manufacturer: Text
    model: Text
    sw_version: Text
    suggested_area: Text | None = None


class Availability(Struct, forbid_unknown_fields=True):
    topic: Topic  # payloads are online and offline unless it says otherwise


class Entity(Struct, forbid_unknown_fields=True, kw_only=True):
    """`object_id` is gone since 2026.4: `default_entity_id` names the domain too."""

    unique_id: Text
    name: Text
    default_entity_id: Annotated[str, Meta(pattern=r"\A[a-z_]+\.[a-z0-9]+(_[a-z0-9]+)*\Z")]
    json_attributes_topic: Topic | None = None
    json_attributes_template: Text | None = None


class EventEntity(Entity, tag="event", tag_field="platform"):
    state_topic: Topic
    event_types: Annotated[list[Text], Meta(min_length=1)]


class Switch(Entity, tag="switch", tag_field="platform"):
    command_topic: Topic
    state_topic: Topic | None = None  # without it, Home Assistant only assumes the state
    value_template: Text | None = None
    entity_category: Category | None = None


class Number(Entity, tag="number", tag_field="platform", kw_only=True):
    command_topic: Topic
    state_topic: Topic | None = None
    value_template: Text | None = None
    min: float = 1
    max: float = 100
    step: Annotated[float, Meta(ge=0.001)] = 1
    mode: Literal["auto", "box", "slider"] = "auto"
    entity_category: Category | None = None

    def __post_init__(self) -> None:
        if self.min >= self.max:
            raise ValueError("min must be below max")


class Sensor(Entity, tag="sensor", tag_field="platform"):
    state_topic: Topic
    value_template: Text | None = None
    device_class: Literal["enum", "data_size"] | None = None  # of many, those that are used here
    options: Annotated[list[Text], Meta(min_length=1)] | None = None
    state_class: Literal["measurement", "total", "total_increasing"] | None = None
    unit_of_measurement: Text | None = None
    entity_category: Literal["diagnostic"] | None = None

    def __post_init__(self) -> None:
        if (self.device_class == "enum") != (self.options is not None):
            raise ValueError("enum goes with options")
        if self.options and (self.state_class or self.unit_of_measurement):
            raise ValueError("what has options has neither state_class nor unit_of_measurement")
        if self.device_class == "data_size" and self.unit_of_measurement not in ("B", "kB", "MB", "GB"):
            raise ValueError("data_size needs a unit of data")


class Description(Struct, forbid_unknown_fields=True):
    device: DeviceInfo
    origin: Origin
    components: dict[Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_-]+\Z")], dict[str, Any]]
    availability: Annotated[list[Availability], Meta(min_length=1)]


DISCOVERY_TOPIC = r"\Ahomeassistant/device/[a-zA-Z0-9_-]+/config\Z"


def entities(payload: bytes) -> dict[str, EventEntity | Switch | Number | Sensor]:
    """The entities that a description makes, by their keys; `msgspec.ValidationError` if it breaks a rule."""
    description = msgspec.json.decode(payload, type=Description)
    told = {key: one for key, one in description.components.items() if set(one) != {"platform"}}
    found = {key: msgspec.convert(one, type=EventEntity | Switch | Number | Sensor) for key, one in told.items()}
    assert len({one.unique_id for one in found.values()}) == len(found)
    assert all(one.default_entity_id.startswith(f"{told[key]['platform']}.") for key, one in found.items())
    return found
