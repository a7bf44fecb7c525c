"""Feeds devices' descriptions, a list on standard input, to the discovery schemas of Home Assistant's own package.

Prints, as JSON, for each device and entity what its schema does not know and drops, or why it is refused.
"""

import importlib
import json
import sys

import voluptuous


def taken(entity: dict, shared: dict) -> list[str] | str:
    schema = importlib.import_module(f"homeassistant.components.mqtt.{entity.pop('platform')}").DISCOVERY_SCHEMA
    try:
        return sorted(set(entity) - set(map(str, schema(entity | shared))))
    except voluptuous.Invalid as error:
        return str(error)


found = []
for description in json.load(sys.stdin):
    shared = {key: description[key] for key in ("device", "origin", "availability")}
    components = description["components"].items()
    found.append({key: taken(entity, shared) for key, entity in components if len(entity) > 1})
print(json.dumps(found))
