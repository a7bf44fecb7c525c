"""The `wakepulse` command: arguments and configuration in, one call out per verb."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from pathlib import Path

from daemon import capture, native, recogniser, service, speaker_verbs, tls
from daemon.broker import BrokerError
from daemon.capture import CaptureError, WavFile
from daemon.config import Config, ConfigError, load
from daemon.credentials import login
from daemon.detector import Detection
from daemon.features import SAMPLE_RATE
from daemon.link import LinkError
from daemon.listener import Listener
from daemon.model import ModelError, WakeModel
from daemon.playback import PlaybackError
from daemon.recording import RecordingError
from daemon.satellite import Satellite
from daemon.settings import SettingsFile, beside
from daemon.sounds import own_sounds
from daemon.source import open_source
from daemon.store import stored
from daemon.takes import lead_in
from daemon.tap import follow
from daemon.words import effective, recalled, thresholds
from pulse import PulseError

MAX_PULSES = 1_000_000  # of a measurement
WYOMING_URI = "tcp://127.0.0.1:10400"  # nothing authenticates whoever asks, so others only where the owner says so
ORIGINS = {  # of thresholds
    "model": "(which the model recommends)",
    "config": "(the model recommends {:g})",
    "set": "(set while it ran; the model recommends {:g})",
}
OK, FAILED, MISCONFIGURED = 0, 1, 78  # 78 is EX_CONFIG of sysexits.h: the service manager does not try again


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status; what went wrong is one line on standard error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="wakepulse: %(message)s", stream=sys.stderr)
    try:
        status = int(options.verb(options))
        sys.stdout.flush()
        return status
    except (ConfigError, ModelError, BrokerError, PulseError) as error:
        print(f"wakepulse: {error}", file=sys.stderr)
        return MISCONFIGURED
    except (CaptureError, LinkError, PlaybackError) as error:
        print(f"wakepulse: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # whoever read our lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wakepulse", description="A wake-word satellite for Hermes over MQTT.")
    told = f"run|detect|devices|check|setup|doctor|watch|wyoming|bench|{speaker_verbs.VERBS}"
    verbs = parser.add_subparsers(required=True, metavar=told)
    run = verbs.add_parser("run", help="listen, and tell the broker")
    detect = verbs.add_parser("detect", help="look for words in recordings")
    check = verbs.add_parser("check", help="check the configuration and the model, and say what is in force")
    devices = verbs.add_parser("devices", help="list the sound cards")
    watch = verbs.add_parser("watch", help="show what satellites say and are told")
    wyoming = verbs.add_parser("wyoming", help="answer as a wake-word service that speaks Wyoming")
    setup = verbs.add_parser("setup", help="ask for microphone, broker and words, then start the service")
    doctor = verbs.add_parser("doctor", help="look at everything a satellite depends on, and say what to mend")
    bench = verbs.add_parser("bench", help="measure what hearing costs on this machine")
    for verb in (run, detect, check, watch, wyoming):
        verb.add_argument("--config", type=Path, metavar="F", help=service.CONFIG_HELP)
    for verb in (setup, doctor):
        verb.add_argument("--config", type=Path, default=service.CONFIG, metavar="F", help=f"default: {service.CONFIG}")
    doctor.add_argument("--json", action="store_true", help="a list of JSON objects")
    detect.add_argument("--model", type=Path, metavar="M", help="model instead of the configured one")
    detect.add_argument("--threshold", type=_threshold, metavar="X", help="threshold for every word, above 0 to 1")
    detect.add_argument("--json", action="store_true", help="one JSON object per detection")
    detect.add_argument("files", type=Path, nargs="+", metavar="FILE", help="WAV (or FLAC, with the soundfile package)")
    watch.add_argument("--site", metavar="S", help="of this site alone")
    wyoming.add_argument("--uri", default=WYOMING_URI, metavar="U", help=f"where; default: {WYOMING_URI}")
    wyoming.add_argument("--zeroconf", action="store_true", help="announce it, so that Home Assistant finds it")
    bench.add_argument("model", type=Path, nargs="?", default=Config().wake.model, help="plan or ONNX file")
    bench.add_argument("--peers", action="store_true", help="other engines too, with the ONNX file beside the plan")
    bench.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    bench.add_argument("--pulses", type=_count, default=3000, metavar="N", help="pulses of each row (default: 3000)")
    run.set_defaults(verb=_run)
    detect.set_defaults(verb=_detect)
    check.set_defaults(verb=_check)
    devices.set_defaults(verb=_devices)
    watch.set_defaults(verb=_watch)
    wyoming.set_defaults(verb=_wyoming)
    setup.set_defaults(verb=_setup)
    doctor.set_defaults(verb=_doctor)
    bench.set_defaults(verb=_bench)
    speaker_verbs.add(verbs, _config)
    return parser


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a threshold is a number above 0 and at most 1, not {text!r}")
    return value


def _count(text: str) -> int:
    count = int(text) if text.isdecimal() else 0
    if not 0 < count <= MAX_PULSES:
        raise argparse.ArgumentTypeError(f"pulses are a number from 1 to {MAX_PULSES}, not {text!r}")
    return count


def _path(options: argparse.Namespace) -> Path | None:
    """The configuration that is meant: the installed one, where there is one and nothing else is said."""
    chosen: Path | None = options.config
    return chosen or (service.CONFIG if service.there(service.CONFIG) else None)


def _config(options: argparse.Namespace) -> Config:
    path = _path(options)
    return load(path) if path else Config()


def _run(options: argparse.Namespace) -> int:
    config = _config(options)
    model, settings = WakeModel.load(config.wake.model), beside(_path(options))
    Satellite(config, model, lambda: _config(options), settings=settings).run()
    return OK


def _detect(options: argparse.Namespace) -> int:
    wake = _config(options).wake
    model = WakeModel.load(options.model or wake.model)
    wanted = thresholds(effective(wake, model))
    if options.threshold is not None:
        wanted = dict.fromkeys(wanted, options.threshold)
    unreadable = 0
    for path in options.files:
        try:
            found = _hear(path, Listener(model, wanted, refractory_s=wake.refractory_s))
        except RecordingError as error:
            print(f"wakepulse: {error}", file=sys.stderr)
            unreadable += 1
            continue
        for detection in found:
            print(_line(path, detection, as_json=options.json), flush=True)
    if unreadable:
        print(f"wakepulse: {unreadable} of {len(options.files)} files could not be read", file=sys.stderr)
    return FAILED if unreadable else OK


def _hear(path: Path, listener: Listener) -> list[Detection]:
    """All detections in a recording, which is heard as if it followed upon silence: its first word counts too."""
    recording = WavFile(path, realtime=False)
    found = lead_in(listener, 0)
    for first, block in recording.blocks():
        found += listener.push(first, block)
    return found + listener.finish()


def _line(path: Path, detection: Detection, *, as_json: bool) -> str:
    time_s, score = round(detection.end_sample / SAMPLE_RATE, 3), round(detection.score, 4)
    if as_json:
        return json.dumps({"file": str(path), "word": detection.word, "time_s": time_s, "score": score})
    return f"{path}: {detection.word} at {time_s:.2f} s, score {score:.2f}"


def _check(options: argparse.Namespace) -> int:
    config = _config(options)
    login(config.mqtt)
    if config.mqtt.tls.enabled:
        tls.context(config.mqtt.tls)
    if config.audio.source == "file":
        open_source(config.audio).close()
    if config.audio.output is not None:
        own_sounds(config.hermes.feedback)
    model = WakeModel.load(config.wake.model)
    broker = "inside" if config.mqtt.embedded else f"{config.mqtt.host}:{config.mqtt.port}"
    print(f"site {config.site_id}, broker {broker}, source {config.audio.source}")
    print(f"model {model.path} {model.version}, pulse {model.plan.pulse} frames, golden vector right")
    kept = SettingsFile(beside(_path(options))).read()
    if kept.muted is not None:
        print(f"{'muted' if kept.muted else 'not muted'} (set while it ran)")
    settings = recalled(config.wake, model, kept.words)
    for name, word in effective(config.wake, model, settings).items():
        origin = ORIGINS[word.origin].format(model.thresholds[name])
        print(f"word {word.id}, threshold {word.threshold:g} {origin}")
        if cost := model.expected(name, word.threshold):
            print(f"  {cost}")
    recogniser.check(config.speakers, model.window_function)
    return OK


def _watch(options: argparse.Namespace) -> int:
    with contextlib.suppress(KeyboardInterrupt):  # which is how a person ends it
        for line in follow(stored(_config(options).mqtt), options.site):
            print(line, flush=True)
    return OK


def _wyoming(options: argparse.Namespace) -> int:
    try:
        from daemon import announcement, wyoming  # an extra
    except ImportError as error:
        raise ConfigError(f"this needs the {error.name} package; install wakepulse[wyoming]") from None
    config = _config(options)
    wake, model = config.wake, WakeModel.load(config.wake.model)
    known = recogniser.of_everybody(config.speakers, model.window_function)
    answering = wyoming.Service(model, effective(wake, model), wake.refractory_s, recogniser=known)
    try:
        wyoming.serve(answering, options.uri, announce=options.zeroconf)
    except announcement.ServiceError as error:
        print(f"wakepulse: {error}", file=sys.stderr)
        return FAILED
    return OK


def _setup(options: argparse.Namespace) -> int:
    from daemon.setup import NotSetUp, setup

    try:
        return setup(options.config)
    except NotSetUp as error:
        print(f"wakepulse: {error}", file=sys.stderr)
        return FAILED


def _doctor(options: argparse.Namespace) -> int:
    from daemon.doctor import as_json, findings

    found = []
    for finding in findings(options.config):
        found.append(finding)
        if not options.json:
            print(finding, flush=True)
    if options.json:
        print(as_json(found))
    return FAILED if any(finding.state == "failure" for finding in found) else OK


def _bench(options: argparse.Namespace) -> int:
    # Imported here, not above: nobody who listens needs it.
    from daemon.bench import bench
    from daemon.report import report

    found = bench(options.model, peers=options.peers, count=options.pulses)
    print(json.dumps(found) if options.json else report(found))
    return OK


def _devices(options: argparse.Namespace) -> int:
    found = capture.devices()
    print("\n".join(map(str, found)) or "no device here can record")
    print("\n".join(f"plays: {one}" for one in capture.devices("output")) or "no device here can play")
    print(f"computing with {native.described()}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
