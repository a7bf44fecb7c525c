"""What was set while the satellite ran is there at its next start, and never in the way of it."""

import logging
import threading
from pathlib import Path

import pytest

from daemon import cli
from daemon.config import WakeConfig, WordConfig
from daemon.settings import STATE, Kept, SettingsFile, beside
from daemon.words import Setting, effective, recalled
from tests.shipped import model

KEPT = Kept(words={"computer": Setting(0.9), "alexa": Setting(enabled=False)}, muted=True)


def written(path: Path, *kept: Kept) -> None:
    file = SettingsFile(path)
    file.read()
    for one in kept:
        file.write(one)
    file.close()


def test_what_was_kept_last_is_read(tmp_path: Path) -> None:
    path = tmp_path / "satellite.set.json"
    assert SettingsFile(path).read() == Kept()
    written(path, Kept(), KEPT)
    assert SettingsFile(path).read() == KEPT
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff", b'{"version": 2}', b'{"words": {"a": {"threshold": 9}}}', b"[" * 10_000, b" " * 100_000],
)
def test_78_what_cannot_be_read_is_laid_aside(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "satellite.set.json"
    path.write_bytes(content)
    assert SettingsFile(path).read() == Kept()
    assert "cannot be read, and does not count" in caplog.text
    assert path.read_bytes() == content
    written(path, KEPT)
    assert SettingsFile(path).read() == KEPT
    assert path.with_suffix(".unreadable").read_bytes() == content


def test_a_slow_disk_is_given_the_newest_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, slow, written_out = tmp_path / "satellite.set.json", threading.Event(), []
    monkeypatch.setattr("daemon.settings.os.fsync", lambda file: written_out.append(slow.wait(10)))
    file = SettingsFile(path)
    for number in range(100):
        file.write(Kept(words={"computer": Setting((1 + number) / 100)}))
    file.write(KEPT)
    slow.set()
    file.close()
    assert len(written_out) <= 2
    assert SettingsFile(path).read() == KEPT


def test_69_where_nothing_can_be_written_it_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        written(tmp_path / "missing" / "satellite.set.json", KEPT, KEPT)
    (record,) = caplog.records
    assert "cannot be kept for the next start" in record.getMessage()
    written(None, KEPT)  # type: ignore[arg-type]


def test_it_lies_beside_the_configuration_but_never_in_etc() -> None:
    assert beside(None) is None
    assert beside(Path("somewhere/kitchen.yaml")) == Path("somewhere/kitchen.set.json")
    assert beside(Path("/etc/wakepulse/satellite.yaml")) == STATE / "satellite.set.json"


def test_what_no_longer_fits_does_not_keep_it_from_starting() -> None:
    every = {word: Setting(0.5, enabled=False) for word in model().words}
    assert recalled(WakeConfig(), model(), {"gone": Setting(0.5), "alexa": Setting(0.4)}) == {"alexa": Setting(0.4)}
    assert recalled(WakeConfig(), model(), every) == {word: Setting(0.5) for word in model().words}
    wake = WakeConfig(words={word: WordConfig(enabled=False) for word in model().words[1:]})
    words = effective(wake, model(), recalled(wake, model(), {model().words[0]: Setting(enabled=False)}))
    assert list(words) == [model().words[0]]


def test_check_says_what_is_in_force_and_where_it_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("wake: {words: {jarvis: {threshold: 0.7}}}\n")
    words = {"computer": Setting(0.9), "snowboy": Setting(enabled=False)}
    written(tmp_path / "c.set.json", Kept(words=words, muted=True))
    assert cli.main(["check", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "\nmuted (set while it ran)\n" in out
    assert "word computer, threshold 0.9 (set while it ran; the model recommends 0.6)" in out
    assert "word jarvis, threshold 0.7 (the model recommends 0.55)" in out
    assert "word alexa, threshold 0.85 (which the model recommends)" in out
    assert "snowboy" not in out
