"""The words that are listened for: what the owner wants of each, where the model has the last word on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.config import ConfigError, WakeConfig
from daemon.model import WakeModel


@dataclass(frozen=True)
class Word:
    """One word as it is in force."""

    name: str  # in the model
    id: str  # in messages
    threshold: float
    origin: str  # of the threshold: "model" or "config"
    language: str | None

    @property
    def sensitivity(self) -> float:
        """As Hermes counts: 0 to 1, where more means more triggers."""
        return round(1 - self.threshold, 4)


def effective(wake: WakeConfig, model: WakeModel) -> dict[str, Word]:
    """Every word that is listened for, by its name; `ConfigError` if the model does not know one."""
    unknown = sorted(set(wake.words) - set(model.words))
    if unknown:
        raise ConfigError(f"wake.words names {unknown[0]!r}, but {model.path.name} knows {', '.join(model.words)}")
    words = {
        name: _word(name, wake, model) for name in model.words if name not in wake.words or wake.words[name].enabled
    }
    if not words:
        raise ConfigError("wake.words turns every word off: nothing would ever be heard")
    ids = [word.id for word in words.values()]
    if len(set(ids)) < len(ids):
        raise ConfigError("wake.words gives two words the same id")
    return words


def _word(name: str, wake: WakeConfig, model: WakeModel) -> Word:
    wanted = wake.words.get(name)
    own = wanted.threshold if wanted else None
    return Word(
        name,
        (wanted and wanted.id) or name,
        model.thresholds[name] if own is None else own,
        "model" if own is None else "config",
        (wanted and wanted.language) or model.language,
    )


def thresholds(words: Mapping[str, Word]) -> dict[str, float]:
    """Of each word."""
    return {name: word.threshold for name, word in words.items()}
