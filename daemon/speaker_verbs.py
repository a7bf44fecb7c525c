"""The verbs of `wakepulse` that are about people: `enroll`, `speakers`, `forget` and `identify`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from daemon import enroll, service, takes
from daemon.capture import CaptureError
from daemon.config import Config, ConfigError
from daemon.enroll import EnrolError, Enrolment
from daemon.model import WakeModel
from daemon.naming import Cohort, Household, Hypothesis
from daemon.people import People, PeopleError
from daemon.recording import RecordingError, read
from daemon.source import open_source
from daemon.speaker import SpeakerError, SpeakerModel, Voice
from daemon.takes import Examiner, Refused
from daemon.words import effective, thresholds

OK, FAILED = 0, 1
REFUSALS = (EnrolError, PeopleError, SpeakerError)

Load = Callable[[argparse.Namespace], Config]
VERBS = "enroll|speakers|forget|identify"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser], load: Load) -> None:
    """Add them to a parser; `load` reads the configuration that its options name."""
    for name, verb_of, help_ in (
        ("enroll", _enroll, "let somebody say the wake word some times, to be known by their voice"),
        ("speakers", _speakers, "who is enrolled"),
        ("forget", _forget, "remove every trace of somebody"),
        ("identify", _identify, "who speaks in recordings"),
    ):
        verb = verbs.add_parser(name, help=help_)
        verb.add_argument("--config", type=Path, metavar="F", help=service.CONFIG_HELP)
        verb.set_defaults(verb=_careful(verb_of, load))
        if name in ("enroll", "forget"):
            verb.add_argument("name", metavar="NAME")
        if name == "enroll":
            verb.add_argument("--word", metavar="W", help="the wake word that is said; default: the model's first")
            verb.add_argument("--from", type=Path, nargs="+", dest="files", metavar="FILE", help="takes of the word")
            verb.add_argument("--sentence", type=Path, metavar="FILE", help="free speech, with --from")
            verb.add_argument("--keep-audio", action="store_true", help="keep what is said, too")
        if name == "identify":
            verb.add_argument("--json", action="store_true", help="one JSON object per answer")
            verb.add_argument("files", type=Path, nargs="+", metavar="FILE")


def _careful(verb: Callable[[argparse.Namespace, Config], int], load: Load) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        try:
            return verb(options, load(options))
        except REFUSALS as error:
            print(f"wakepulse: {error}", file=sys.stderr)
            return FAILED

    return run


def _model(config: Config) -> SpeakerModel:
    if config.speakers.model is None:
        raise ConfigError("speakers.model is null, so that nobody can be named")
    return SpeakerModel.load(config.speakers.model)


def _enroll(options: argparse.Namespace, config: Config) -> int:
    model, wake = _model(config), WakeModel.load(config.wake.model)
    words = thresholds(effective(config.wake, wake))
    word = options.word or next(iter(words))
    if word not in words:
        raise ConfigError(f"{word!r} is not listened for; the words are {', '.join(words)}")
    examiner = Examiner(model, wake, words, word)
    people = People(config.speakers.folder)
    people.prepare()
    others = people.read(model)
    enrolment = Enrolment(options.name, examiner, print)
    if options.files:
        enroll.from_files(enrolment, options.files, options.sentence)
    else:
        _speak(enrolment, config, examiner)
    path = enroll.keep(people, enrolment, model, sounds=options.keep_audio)
    for line in enroll.verdict(enrolment.person(), others, Cohort(model.cohort), config.speakers.false_acceptance):
        print(line)
    print(f"{options.name} is enrolled: {path}")
    service.reload()
    return OK


def _speak(enrolment: Enrolment, config: Config, examiner: Examiner) -> None:
    try:
        with service.set_aside(), contextlib.closing(open_source(config.audio)) as source:
            enroll.from_source(enrolment, source, examiner)
    except CaptureError as error:
        if service.active():
            raise EnrolError("the running service holds the microphone; run this with sudo") from error
        raise


def _speakers(options: argparse.Namespace, config: Config) -> int:
    for person in People(config.speakers.folder).read(_model(config)):
        free = ", free speech" if len(person.free) else ""
        print(f"{person.name}: {len(person.takes)} takes of {person.word}{free}")
    return OK


def _forget(options: argparse.Namespace, config: Config) -> int:
    removed = People(config.speakers.folder).forget(options.name)
    if not removed:
        raise PeopleError(f"nobody named {options.name!r} is enrolled")
    for path in removed:
        print(f"removed {path}")
    service.reload()
    return OK


def _identify(options: argparse.Namespace, config: Config) -> int:
    model = _model(config)
    people = People(config.speakers.folder).read(model)
    if not people:
        raise PeopleError("nobody is enrolled; run: wakepulse enroll NAME")
    home = Household(
        [p.enrolled for p in people], Cohort(model.cohort), false_acceptance=config.speakers.false_acceptance
    )
    voice, unreadable = Voice(model), 0
    for path in options.files:
        try:
            heard = takes.free_speech(read(path), model, voice)
        except (RecordingError, Refused) as error:
            print(f"wakepulse: {path}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        print(_line(path, home.hypotheses(heard), as_json=options.json), flush=True)
    return FAILED if unreadable else OK


def _line(path: Path, found: Sequence[Hypothesis], *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": str(path), "speakerHypotheses": [asdict(one) for one in found]})
    told = ", ".join(f"{one.name or 'unknown'} {one.confidence:.2f}" for one in found)
    return f"{path}: {found[0].name or 'unknown'} ({told})"
