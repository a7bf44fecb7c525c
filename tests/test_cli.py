"""The `wakepulse` command: what it prints, and the exit status that the service manager acts upon."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from onnx import TensorProto

import pulse
from daemon import cli
from daemon.capture import devices
from daemon.features import MELS, METADATA_KEY, SAMPLE_RATE, describe
from daemon.listener import Listener
from daemon.model import ModelError, WakeModel
from tests.graphs import FLOAT, Builder, compiled
from tests.shipped import MODEL, ROOT, sound, whole


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "word.wav"
    soundfile.write(path, sound(), SAMPLE_RATE)
    return path


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_detect_prints_one_line_per_detection(wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("detect", wav) == 0
    (heard,) = whole()
    expected = f"{wav}: computer at {heard.end_sample / SAMPLE_RATE:.2f} s, score {heard.score:.2f}\n"
    assert capsys.readouterr().out == expected


def test_detect_prints_json(wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("detect", "--json", wav, wav) == 0
    first, second = objects(capsys.readouterr().out)
    (heard,) = whole()
    assert first == second
    assert first["file"] == str(wav)
    assert first["word"] == "computer"
    assert first["time_s"] == pytest.approx(heard.end_sample / SAMPLE_RATE, abs=0.001)
    assert first["score"] == pytest.approx(heard.score, abs=0.0001)


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(44_100, 2, "FLOAT"), (16_000, 1, "PCM_U8"), (48_000, 1, "PCM_24")]
)
def test_detect_takes_what_a_wav_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: int, channels: int, subtype: str
) -> None:
    time = np.arange(len(sound()) * rate // SAMPLE_RATE) * SAMPLE_RATE / rate
    moved = np.interp(time, np.arange(len(sound())), sound() / 32768)
    soundfile.write(tmp_path / "other.wav", np.stack([moved] * channels, axis=1), rate, subtype=subtype)
    assert run("detect", "--json", "--threshold", 0.2, tmp_path / "other.wav") == 0
    assert "computer" in [o["word"] for o in objects(capsys.readouterr().out)]


def test_a_recording_may_begin_and_end_with_the_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (heard,) = whole()
    cut = sound()[heard.end_sample - SAMPLE_RATE : heard.end_sample]
    soundfile.write(tmp_path / "cut.wav", cut, SAMPLE_RATE)
    assert run("detect", "--json", "--threshold", 0.3, tmp_path / "cut.wav") == 0
    assert [o["word"] for o in objects(capsys.readouterr().out)] == ["computer"]


def test_files_that_cannot_be_read_are_named_and_counted(
    tmp_path: Path, wav: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.wav").write_text("<!DOCTYPE html><html>not here</html>")
    assert run("detect", "--json", tmp_path / "page.wav", wav, tmp_path / "missing.wav") == 1
    out, err = capsys.readouterr()
    assert [o["file"] for o in objects(out)] == [str(wav)]
    assert "page.wav" in err
    assert "missing.wav" in err
    assert "2 of 3 files could not be read" in err


def test_threshold_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for threshold in (85, 0, "nan", "high"):
        with pytest.raises(SystemExit):
            run("detect", "--threshold", threshold, "x.wav")
        assert "above 0 and at most 1" in capsys.readouterr().err


def test_words_of_the_configuration_count(tmp_path: Path, wav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("wake: {words: {computer: {enabled: false}}}\n")
    assert run("detect", "--config", config, wav) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wake: {treshold: 1}", "c.yaml:1: unknown key"),
        ("wake: {words: {computr: {}}}", "computr"),
        ("wake: {model: nothing.plan}", "nothing.plan"),
        ("audio: {source: file, file: nothing.wav}", "nothing.wav"),
        ("mqtt: {username: me, password_file: nothing.txt}", "nothing.txt"),
        ("mqtt: {host: mqtt..local}", "no name of a host"),
        ('site_id: "a\\tb"', "site_id"),
        ('site_id: "\\uD800"', "site_id"),
    ],
)
def test_a_bad_configuration_is_one_line_and_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "c.yaml").write_text(text + "\n")
    for verb in ("run", "check"):
        assert run(verb, "--config", tmp_path / "c.yaml") == 78
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_check_says_what_is_in_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A file that is not the source is not looked at, nor is the microphone opened.
    audio = "audio: {source: microphone, device: no such card, file: later.wav}"
    (tmp_path / "c.yaml").write_text(f"site_id: attic\nwake: {{words: {{alexa: {{threshold: 0.123}}}}}}\n{audio}\n")
    assert run("check", "--config", tmp_path / "c.yaml") == 0
    out = capsys.readouterr().out
    assert "site attic" in out
    assert "word alexa, threshold 0.123" in out


def test_check_refuses_what_run_would_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "satellite.yaml"
    config.write_text("audio: {output: any}\nhermes: {feedback: {enabled: true, wake: none.wav}}\n")
    assert run("check", "--config", config) == 78
    assert "none.wav" in capsys.readouterr().err


def test_check_tells_of_a_speaker_model_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tmp_path / "satellite.yaml"
    config.write_text(f"speakers: {{model: {MODEL}, folder: nobody}}\n")
    assert run("check", "--config", config) == 0
    assert "nobody will be named" in caplog.text


def test_the_installed_configuration_is_meant_where_no_other_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = tmp_path / "satellite.yaml"
    monkeypatch.setattr("daemon.service.CONFIG", installed)
    assert run("check") == 0
    installed.write_text("site_id: attic\n")
    assert run("check") == 0
    first, second = re.findall("site ([a-z]+)", capsys.readouterr().out)
    assert (first, second) == ("default", "attic")


@pytest.mark.parametrize(("command", "package"), [("pulse.entry", "onnx"), ("models.entry", "torch")])
def test_what_a_satellite_lacks_is_named(command: str, package: str) -> None:
    script = f"import sys; sys.modules['{package}'] = None; from {command} import main; sys.exit(main())"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"the {package} package is missing; install wakepulse[" in ended.stderr


def test_devices_lists_or_says_that_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("devices") == 0
    listed = "\n".join(map(str, devices())) or "no device here can record"
    plays = "\n".join(f"plays: {one}" for one in devices("output")) or "no device here can play"
    assert re.fullmatch(
        f"{re.escape(listed)}\n{re.escape(plays)}\ncomputing with C kernels, \\w+\n", capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("pulse", "daemon"), "numpy for the network and the features, many times"),
        (("pulse",), "numpy for the network, many times"),
        (("daemon",), "numpy for the features, many times"),
    ],
)
def test_what_was_not_built_is_said(missing: tuple[str, ...], said: str) -> None:
    blocked = "; ".join(f"sys.modules['{room}._kernels'] = None" for room in missing)
    command = f"import sys; {blocked}; from daemon import native; print(native.described())"
    found = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(said)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m daemon.cli check | true"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""


def altered(tmp_path: Path, **metadata: object) -> Path:
    """The shipped model with other metadata."""
    plan = pulse.Plan.load(MODEL)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    path = tmp_path / "altered.plan"
    replace(plan, metadata={**plan.metadata, **texts}).save(path)
    return path


def detector(**more: object) -> dict[str, object]:
    return {"smoothing": 1, "onset_to_end": 16, **more}


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({METADATA_KEY: describe("hamming") | {"mels": 20}}, "mels is 20 there and 40 here"),
        ({METADATA_KEY: "?"}, "not JSON"),
        ({METADATA_KEY: "[" * 100_000}, "not JSON"),
        ({"words": "[" * 100_000}, "not JSON"),
        ({"words": []}, "1 to 100 different words"),
        ({"words": ["a"] * 6}, "different words"),
        ({"words": ["a", "b", "c", "d", "e", "#"]}, "different words"),
        ({"words": ["a"], "thresholds": {"a": 0.5}}, "posteriors were expected"),
        ({"thresholds": {}}, "thresholds"),
        ({"thresholds": "[]"}, "no JSON dict"),
        ({"detector": {"smoothing": 0, "onset_to_end": 16}}, "smoothing"),
        ({"detector": {"smoothing": 10**9, "onset_to_end": 16}}, "smoothing"),
        ({"detector": detector(parts=3)}, "parts of words are 3"),
        ({"detector": detector(parts={"count": 3, "smoothing": 10})}, "window of None"),
        ({"detector": detector(parts={"count": 1, "smoothing": 10, "window": 200})}, "1 parts of 10 frames"),
        ({"detector": detector(parts={"count": 11, "smoothing": 10, "window": 200})}, "2 to 10 that fit"),
        ({"detector": detector(parts={"count": 3, "smoothing": 100, "window": 200})}, "in a window of 200"),
        ({"detector": detector(parts={"count": 2, "smoothing": 10, "window": 200})}, r"\(1, 8, 13\) posteriors were"),
    ],
)
def test_a_model_for_another_satellite_is_refused(tmp_path: Path, metadata: dict, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        WakeModel.load(altered(tmp_path, **metadata))


def test_a_model_of_integers_is_refused(tmp_path: Path) -> None:
    b, shipped = Builder(), pulse.Plan.load(MODEL)
    y = b.add("MatMul", b.add("Cast", "x", to=FLOAT), b.floats(MELS, 7))
    plan = compiled(b.model((1, "S", MELS), [y], (TensorProto.INT64, FLOAT)), shipped.pulse)
    replace(plan, metadata=shipped.metadata).save(tmp_path / "integers.plan")
    with pytest.raises(ModelError, match="it maps int64 to float32, where both must be float32"):
        WakeModel.load(tmp_path / "integers.plan")


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\n", bytes(range(99))])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.plan").write_bytes(content)
    assert run("detect", "--model", tmp_path / "m.plan", "x.wav") == 78
    assert "m.plan" in capsys.readouterr().err


def test_an_altered_model_with_the_same_promises_works(tmp_path: Path) -> None:
    model = WakeModel.load(altered(tmp_path, version="2"))
    assert Listener(model, model.thresholds, refractory_s=1.0).push(0, sound()) == whole()
