"""The words that are listened for: what the owner wants of each, where the model has the last word on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from msgspec import Struct

from daemon.config import ConfigError, Threshold, WakeConfig, WordConfig
from daemon.model import WakeModel


@dataclass(frozen=True)
class Word:
    """One word as it is in force."""

    name: str  # in the model
    id: str  # in messages
    threshold: float
    origin: str  # of the threshold: "model", "config", or "set" while it runs
    language: str | None
    speakers: tuple[str, ...] = ()  # who may say it; anybody where there are none
    marks_strangers: bool = False  # whether others are told of all the same

    def may_say(self, name: str | None) -> bool:
        """Whether somebody of this name, None if that is unknown, is listened to."""
        return not self.speakers or name in self.speakers

    @property
    def sensitivity(self) -> float:
        """As Hermes counts: 0 to 1, where more means more triggers."""
        return round(1 - self.threshold, 4)


class Setting(Struct, frozen=True, forbid_unknown_fields=True):
    """What was set of one word while the satellite runs; None leaves it to the configuration."""

    threshold: Threshold | None = None
    enabled: bool | None = None


NOTHING_SET: Mapping[str, Setting] = MappingProxyType({})


def known(wake: WakeConfig, model: WakeModel) -> dict[str, Word]:
    """Every word of the model by its name, listened for or not; `ConfigError` if the configuration names another."""
    unknown = sorted(set(wake.words) - set(model.words))
    if unknown:
        raise ConfigError(f"wake.words names {unknown[0]!r}, but {model.path.name} knows {', '.join(model.words)}")
    words = {name: _word(name, wake.words.get(name, WordConfig()), model) for name in model.words}
    if len({word.id for word in words.values()}) < len(words):
        raise ConfigError("wake.words gives two words the same id")
    return words


def effective(wake: WakeConfig, model: WakeModel, settings: Mapping[str, Setting] = NOTHING_SET) -> dict[str, Word]:
    """Every word that is listened for, by its name; `settings` by ids. `ConfigError` if a word is not known."""
    all_words = known(wake, model)
    ids = [word.id for word in all_words.values()]
    if foreign := sorted(set(settings) - set(ids)):
        raise ConfigError(f"there is no word {foreign[0]!r} to set; there are {', '.join(ids)}")
    words = {}
    for name, word in all_words.items():
        configured, setting = wake.words.get(name, WordConfig()), settings.get(word.id, Setting())
        if configured.enabled if setting.enabled is None else setting.enabled:
            words[name] = (
                word if setting.threshold is None else replace(word, threshold=setting.threshold, origin="set")
            )
    if not words:
        raise ConfigError("wake.words turns every word off: nothing would ever be heard")
    return words


def recalled(wake: WakeConfig, model: WakeModel, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Of what was set when the configuration or the model may have been another one, what still can be."""
    ids = {word.id for word in known(wake, model).values()}
    kept = {word: setting for word, setting in settings.items() if word in ids}
    try:
        effective(wake, model, kept)
    except ConfigError:  # no word would be left
        kept = {word: Setting(setting.threshold) for word, setting in kept.items()}
    return kept


def _word(name: str, wanted: WordConfig, model: WakeModel) -> Word:
    own = wanted.threshold
    threshold, origin = (model.thresholds[name], "model") if own is None else (own, "config")
    marks, language = wanted.strangers == "mark", wanted.language or model.language
    return Word(name, wanted.id or name, threshold, origin, language, wanted.speakers, marks)


def thresholds(words: Mapping[str, Word]) -> dict[str, float]:
    """Of each word."""
    return {name: word.threshold for name, word in words.items()}
