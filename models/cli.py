"""The `wakepulse-train` command: train a network, export it, judge it, and make the demo recording."""

from __future__ import annotations

import argparse
import sys
import wave
from pathlib import Path

from daemon.features import SAMPLE_RATE
from daemon.model import ModelError, WakeModel
from models import calibration, evaluate, train
from models.corpus import CorpusError, Recording, read_manifest, select
from models.export import ExportError, export, metadata
from models.synthesize import SynthesisError, demo
from models.train import SettingsError
from models.wakeword import WakeWord


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
    except (CorpusError, ExportError, ModelError, SettingsError, SynthesisError, OSError) as error:
        print(f"wakepulse-train: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wakepulse-train", description="Train and judge wake-word networks.")
    verbs = parser.add_subparsers(required=True, metavar="train|export|calibrate|evaluate|demo")
    defaults = train.Settings()
    verb = verbs.add_parser("train", help="train, or go on with a training")
    verb.add_argument("--corpus", type=Path, required=True, help="folder with manifest.csv and recordings")
    verb.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the log")
    verb.add_argument("--steps", type=int, default=defaults.steps)
    verb.add_argument("--seed", type=int, default=defaults.seed)
    verb.add_argument("--window", choices=("hamming", "rectangular"), default=defaults.window_function)
    verb.set_defaults(verb=_train)
    verb = verbs.add_parser("export", help="checkpoint to .onnx and .plan, thresholds set on what it has not heard")
    verb.add_argument("--corpus", type=Path, required=True)
    verb.add_argument("--from", type=Path, required=True, dest="folder", help="folder of a training")
    verb.add_argument("--version", default="1")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="the .onnx file; the .plan is put beside it")
    verb.set_defaults(verb=_export)
    verb = verbs.add_parser("calibrate", help="some minutes of the train split, for wakepulse-compile --int8")
    verb.add_argument("--corpus", type=Path, required=True)
    verb.add_argument("--window", choices=("hamming", "rectangular"), default=defaults.window_function)
    verb.add_argument("-o", type=Path, required=True, dest="path", help="the .npz file")
    verb.set_defaults(verb=_calibrate)
    verb = verbs.add_parser("evaluate", help="misses and false alarms of a plan on the dev split")
    verb.add_argument("--corpus", type=Path, required=True)
    verb.add_argument("--unseen", action="store_true", help="add the train split's speech that no training uses")
    verb.add_argument("model", type=Path, help="a .plan")
    verb.set_defaults(verb=_evaluate)
    verb = verbs.add_parser("demo", help="make the demo recording with espeak-ng and flite")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="a .wav file")
    verb.set_defaults(verb=_demo)
    return parser


def _train(options: argparse.Namespace) -> None:
    settings = train.Settings(window_function=options.window, seed=options.seed, steps=options.steps)
    train.train(options.corpus, options.out, settings)


def _demo(options: argparse.Namespace) -> None:
    with wave.open(str(options.path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(demo().astype("<i2").tobytes())


def _export(options: argparse.Namespace) -> None:
    settings = train.read_settings(options.folder)
    network = WakeWord(1 + len(settings.words))
    network.load_state_dict(train.average_weights(options.folder))
    dev = evaluate.listen(_heard(options.corpus, unseen=True), settings.window_function)
    network.eval()
    scored = evaluate.score(dev, lambda frames: train.posteriors(network, frames))
    curves = evaluate.curves(scored, settings.words)
    thresholds = {curve.word: curve.recommended() for curve in curves}
    onset_to_end = evaluate.onset_to_end(scored, thresholds)
    about = metadata(settings, thresholds, onset_to_end=onset_to_end, version=options.version)
    export(network, options.path, about)
    print(evaluate.table(evaluate.judge(scored, thresholds), curves, thresholds))


def _calibrate(options: argparse.Namespace) -> None:
    print(f"{calibration.write(options.corpus, options.path, options.window):.0f} s of the train split")


def _evaluate(options: argparse.Namespace) -> None:
    model = WakeModel.load(options.model)
    heard = evaluate.listen(_heard(options.corpus, unseen=options.unseen), model.window_function)
    scored = evaluate.score(heard, evaluate.run(model.plan))
    verdicts = evaluate.judge(scored, model.thresholds, smoothing=model.smoothing)
    print(evaluate.table(verdicts, evaluate.curves(scored, model.words, smoothing=model.smoothing), model.thresholds))


def _heard(corpus: Path, *, unseen: bool) -> list[Recording]:
    """The dev split; and, of the train split, the speech that is left out of training for its licence."""
    recordings = read_manifest(corpus)
    dev = select(recordings, "dev", train.HEARD_KINDS, shippable=False)
    return [*dev, *(r for r in select(recordings, "train", {"speech"}, shippable=False) if r.share_alike and unseen)]


if __name__ == "__main__":
    sys.exit(main())
