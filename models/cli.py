"""The `wakepulse-train` command: train a network, export it, judge it, and make the demo recording."""

from __future__ import annotations

import argparse
import json
import os
import sys
import wave
from collections.abc import Mapping
from pathlib import Path

import msgspec
import soundfile
import torch

from daemon.features import HOP, SAMPLE_RATE
from daemon.model import OPERATING_POINTS, ModelError, WakeModel
from daemon.speaker import SpeakerError
from models import (
    calibration,
    card,
    cost,
    delivery,
    evaluate,
    figures,
    gate,
    hearing,
    kokoro,
    librispeech,
    phrase,
    prune,
    recipe,
    speaker_verbs,
    train,
    tuning,
)
from models.card import CardError
from models.conditions import CONDITIONS, Condition, Surroundings
from models.corpus import CorpusError
from models.demo import demo
from models.encoders import EncoderError
from models.engines import FOLDERS
from models.export import ExportError, annotate, annotate_int8, export_int8, may_lie_at
from models.gate import GateError
from models.recipe import RecipeError
from models.rounded import rounded
from models.script import Wanted
from models.synthesize import report, synthesize
from models.voices import SynthesisError
from models.wording import PhraseError, check

QUANTISED_STEPS = 1500
INT8 = ".int8.plan"
MEASURED_ON = "clean recordings of people it has not met"
MEASURED_ON_MADE = "clean recordings, synthetic voices among them"
REFUSALS = (
    CardError,
    CorpusError,
    EncoderError,
    ExportError,
    GateError,
    ModelError,
    PhraseError,
    RecipeError,
    SpeakerError,
    SynthesisError,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
    except (*REFUSALS, OSError) as error:
        print(f"wakepulse-train: {error}", file=sys.stderr)
        return 1
    except soundfile.LibsndfileError as error:
        print(f"wakepulse-train: sound cannot be read or written: {error} Is the disk full?", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wakepulse-train", description="Train and judge wake-word networks.")
    told = (
        "train|export|prune|quantise|calibrate|evaluate|synthesize|fetch-speech|fetch-voices|demo|"
        "train-speaker|export-speaker|evaluate-speakers"
    )
    verbs = parser.add_subparsers(required=True, metavar=told)
    _add_train(verbs)
    verb = verbs.add_parser("export", help="checkpoint to .onnx and .plan, thresholds set on what it has not heard")
    _add_corpora(verb)
    verb.add_argument("--from", type=Path, required=True, dest="folder", help="folder of a training")
    verb.add_argument("--version", default="1")
    verb.add_argument("--force", action="store_true", help="also if the model that is there already is better")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="the .onnx file; the .plan is put beside it")
    verb.set_defaults(verb=_export)
    verb = verbs.add_parser("prune", help="a smaller network from a trained one, to be trained some more")
    verb.add_argument("--from", type=Path, required=True, dest="folder", help="folder of a training, with its scenes")
    verb.add_argument("--out", type=Path, required=True, help="folder for a training of what is left")
    verb.add_argument("--keep", type=float, default=0.5, help="share of the gated channels of each layer; default: 0.5")
    verb.add_argument("--steps", type=int, default=prune.STEPS, help=f"of that training; default: {prune.STEPS}")
    verb.set_defaults(verb=_prune)
    verb = verbs.add_parser("quantise", help="train on with rounded numbers, and write an int8 plan")
    _add_corpora(verb)
    verb.add_argument("--from", type=Path, required=True, dest="folder", help="folder of a training, with its scenes")
    verb.add_argument("--out", type=Path, help="folder for the training with rounded numbers; default: FROM_int8")
    verb.add_argument("--steps", type=int, default=QUANTISED_STEPS, help=f"default: {QUANTISED_STEPS}; 0 only rounds")
    verb.add_argument("--version", default="1")
    verb.add_argument("--force", action="store_true", help="also if the model that is there already is better")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="the .int8.plan file")
    verb.set_defaults(verb=_quantise)
    verb = verbs.add_parser("calibrate", help="some minutes of the train split, for wakepulse-compile --int8")
    _add_corpora(verb)
    verb.add_argument("--window", choices=("hamming", "rectangular"), default="hamming")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="the .npz file")
    verb.set_defaults(verb=_calibrate)
    verb = verbs.add_parser("evaluate", help="misses, false alarms and latency of plans on the dev split")
    _add_corpora(verb)
    verb.add_argument("--unseen", action="store_true", help="add the train split's speech that no training uses")
    verb.add_argument("--condition", action="append", choices=[c.name for c in CONDITIONS], help="default: all")
    verb.add_argument("--seed", type=int, default=delivery.SEED)
    verb.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one per core")
    verb.add_argument("--out", type=Path, help="folder for tables (.md), all figures (.json) and curves (.svg, .png)")
    verb.add_argument("--compare", type=Path, metavar="B", help="a second .plan, to be put beside the first")
    verb.add_argument("--card", type=Path, help="model card whose figures are replaced")
    verb.add_argument("--annotate", action="store_true", help="write operating points into the .plan and its .onnx")
    verb.add_argument("--measured-on", metavar="TEXT", help=f"default: {MEASURED_ON}, or {MEASURED_ON_MADE}")
    verb.add_argument("model", type=Path, help="a .plan")
    verb.set_defaults(verb=_evaluate)
    _add_synthesize(verbs)
    verb = verbs.add_parser("fetch-speech", help="a corpus of 5.4 hours of read English, 340 MB from openslr.org")
    verb.add_argument("--out", type=Path, required=True, help="folder for the corpus")
    verb.add_argument("--archive", type=Path, metavar="FILE", help="dev-clean.tar.gz, where it is there already")
    verb.set_defaults(verb=lambda options: print(librispeech.fetch(options.out, options.archive)))
    verb = verbs.add_parser("fetch-voices", help="Kokoro's voices for --kokoro, 120 MB from github.com")
    verb.add_argument("--out", type=Path, required=True, help="folder for them")
    verb.set_defaults(verb=lambda options: print(kokoro.fetch(options.out)))
    verb = verbs.add_parser("demo", help="make the demo recording with espeak-ng and flite")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="a .wav file")
    verb.set_defaults(verb=_demo)
    speaker_verbs.add(verbs)
    return parser


def _add_corpora(verb: argparse.ArgumentParser, *, required: bool = True) -> None:
    told = "folder with manifest.csv and recordings; may be given several times"
    verb.add_argument("--corpus", type=Path, required=required, action="append", default=[], dest="corpora", help=told)


def _add_train(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser("train", help="train on recordings or for a typed phrase, or go on with a training")
    _add_corpora(verb, required=False)
    verb.add_argument("--out", type=Path, required=True, help="folder for the scenes, the checkpoint and the log")
    verb.add_argument("--teacher", type=Path, help="folder of a training whose network this one also learns from")
    own = verb.add_argument_group("own words, from typed text to a model in --out")
    own.add_argument("--phrase", action="append", default=[], help="may be given several times, for one model")
    told = "folder of your takes of the phrase; of several phrases, each in a folder of its name"
    own.add_argument("--recordings", type=Path, metavar="DIR", help=told)
    own.add_argument("--false-wakes", type=Path, metavar="DIR", help="folder of recordings at which a satellite woke")
    own.add_argument("--takes", type=int, help=f"synthetic ones of each phrase, default: {phrase.TAKES}")
    _add_voices(own)
    own.add_argument("--force", action="store_true", help="also if the model that is there already is better")
    verb.add_argument("recipe", type=Path, nargs="?", help="a .yaml, or the name of a shipped one; default: phrase")
    verb.set_defaults(verb=_train)


def _add_voices(verb: argparse._ActionsContainer) -> None:
    for name in FOLDERS:
        told = f"folder with {name.capitalize()} voices, to be heard as well"
        verb.add_argument(f"--{name}", type=Path, metavar="DIR", help=told)


def _folders(options: argparse.Namespace) -> dict[str, Path]:
    return {name: folder for name in FOLDERS if (folder := getattr(options, name)) is not None}


def _add_synthesize(verbs: argparse._SubParsersAction) -> None:
    wanted = Wanted(())
    verb = verbs.add_parser("synthesize", help="a corpus of phrases, near ones and other speech, by synthetic voices")
    verb.add_argument("--phrase", action="append", required=True, help="to be recognised; may be given several times")
    verb.add_argument("--out", type=Path, required=True, help="folder for the corpus")
    verb.add_argument("--takes", type=int, default=wanted.takes, help=f"of each phrase, default: {wanted.takes}")
    verb.add_argument("--near", type=int, default=wanted.near, help=f"near phrases of each, default: {wanted.near}")
    verb.add_argument("--seed", type=int, default=wanted.seed)
    verb.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="default: one per core")
    _add_voices(verb)
    verb.add_argument("--agree", type=Path, metavar="PLAN", help="drop clips in which this model hears no word")
    verb.set_defaults(verb=_synthesize)


def _synthesize(options: argparse.Namespace) -> None:
    phrases = tuple(" ".join(typed.split()) for typed in options.phrase)
    wanted = Wanted(phrases, options.takes, options.near, options.seed)
    rows = synthesize(wanted, options.out, jobs=options.jobs, folders=_folders(options), agree=options.agree)
    print(report(rows))


def _train(options: argparse.Namespace) -> None:
    if options.phrase:
        _train_phrase(options)
        return
    own = ("recordings", "false_wakes", "takes", *FOLDERS)
    if any(getattr(options, name) is not None for name in own):
        raise PhraseError("--recordings, --false-wakes, --takes, --piper and --kokoro go with --phrase")
    if not options.recipe or not options.corpora:
        raise RecipeError("what is to be trained? Give --phrase, or a recipe and --corpus")
    train.train(options.corpora, options.out, recipe.read(options.recipe), options.teacher)


def _train_phrase(options: argparse.Namespace) -> None:
    if options.teacher:
        raise PhraseError("--teacher does not go with --phrase")
    wish = phrase.Wish(
        check(tuple(options.phrase)),
        options.out,
        takes=phrase.TAKES if options.takes is None else options.takes,
        recordings=options.recordings,
        false_wakes=options.false_wakes,
        corpora=tuple(options.corpora),
        folders=tuple(_folders(options).items()),
    )
    made = recipe.read(options.recipe or Path("phrase"), wish.words)
    phrase.fulfil(wish, made, force=options.force)


def _demo(options: argparse.Namespace) -> None:
    with wave.open(str(options.path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(demo().astype("<i2").tobytes())


def _export(options: argparse.Namespace) -> None:
    may_lie_at(options.path, ".onnx")
    delivery.deliver(options.folder, options.corpora, options.path, version=options.version, force=options.force)
    model = WakeModel.load(options.path.with_suffix(".plan"))
    heard = delivery.sessions(options.corpora, unseen=True)
    print(figures.in_force(hearing.listen(model.path, *heard, CONDITIONS[:1]), model.thresholds))


def _prune(options: argparse.Namespace) -> None:
    before, after = prune.prune(options.folder, options.out, options.keep, options.steps)
    print(cost.report({"before": before, "after": after}))
    on = f"--teacher {options.folder} --out {options.out} {options.out / train.RECIPE}"
    print(f"to train it on: wakepulse-train train --corpus CORPUS {on}")


def _quantise(options: argparse.Namespace) -> None:
    may_lie_at(options.path, INT8)
    made, exact = tuning.source(options.folder)
    network = rounded(exact)
    if options.steps:
        folder = options.out or options.folder.with_name(f"{options.folder.name}_int8")
        made = msgspec.structs.replace(tuning.recipe(made, options.steps, options.folder), quantised=True)
        if not (folder / train.CHECKPOINT).exists():
            tuning.start(options.folder, folder, made, network)
        train.train(options.corpora, folder, made, options.folder)
        network = rounded(train.load(folder)[1])  # with the averaged weights
    frames = calibration.heard(options.corpora, made.window_function)
    network.observe(torch.from_numpy(frames))
    dev = evaluate.listen(delivery.heard(options.corpora, unseen=True), made.window_function)
    scored = {name: train.scored(each, dev) for name, each in (("float32", exact), ("int8", network))}
    for name, found in scored.items():
        print(f"{name}: {train.summary(evaluate.curves(found, made.words))[1]}")
    heard = delivery.sessions(options.corpora, unseen=True)
    with gate.opened(options.path, heard, force=options.force) as new:
        export_int8(network, new, delivery.about(made, network, scored["int8"], options.version), frames)
    model = WakeModel.load(options.path)
    results = hearing.listen(model.path, *heard, CONDITIONS[:1])
    _annotate(model, figures.operating_points(results, model.thresholds, _measured_on(results)))
    print(figures.in_force(results, model.thresholds))


def _measured_on(results: figures.Results) -> str:
    """What is said of figures where the user says nothing."""
    made = any(recording.made for tried in results for recording in tried.positives)
    return MEASURED_ON_MADE if made else MEASURED_ON


def _annotate(model: WakeModel, points: Mapping[str, object]) -> None:
    """Write operating points into a plan, and into its ONNX file where it has one of its own."""
    told = {OPERATING_POINTS: json.dumps(points)}
    if model.path.name.endswith(INT8):
        annotate_int8(model.path, told)
    else:
        annotate(model.path.with_suffix(".onnx"), told)


def _calibrate(options: argparse.Namespace) -> None:
    frames = calibration.heard(options.corpora, options.window)
    calibration.write(frames, options.path)
    print(f"{frames.shape[1] * HOP / SAMPLE_RATE:.0f} s of the train split")


def _conditions(options: argparse.Namespace, around: Surroundings) -> list[Condition]:
    """Those asked for, or all that the recordings can be put into."""
    wanted = [c for c in CONDITIONS if not options.condition or c.name in options.condition]
    if options.annotate and options.measured_on is None and wanted[0] != CONDITIONS[0]:
        raise ExportError("--annotate writes what words cost in clean sound: add --condition clean, or --measured-on")
    possible = [c for c in wanted if around.rooms or not c.in_room]
    if possible == wanted:
        return wanted
    reason = "no recording of the dev split is the response of a room (rir), so that nothing is heard in one"
    if not possible:
        raise CorpusError(reason)
    print(reason, end="\n\n")
    return possible


def _evaluate(options: argparse.Namespace) -> None:
    speaker_verbs.at_least(options, processes=1, seed=0)
    models = [WakeModel.load(path) for path in (options.model, options.compare) if path]
    sessions, around = delivery.sessions(options.corpora, unseen=options.unseen, seed=options.seed)
    wanted = _conditions(options, around)
    found = [hearing.listen(m.path, sessions, around, wanted, processes=options.processes) for m in models]
    first, second = models[0].path.stem, models[-1].path.stem
    names = (first, f"{second}_b" if second == first else second)
    for name, model, results in zip(names, models, found, strict=False):
        print(card.report(results, model))
        if options.out:
            card.write(options.out, name, model, results)
    if options.compare:
        print(figures.compared(found[0], found[1], names))
    if options.card:
        card.replace_figures(options.card, card.report(found[0], models[0]))
    if options.annotate:
        told = options.measured_on or _measured_on(found[0])
        _annotate(models[0], figures.operating_points(found[0], models[0].thresholds, told))


if __name__ == "__main__":
    sys.exit(main())
