"""The verbs of `wakepulse-train` that are about who speaks: training, export and judgement of a speaker network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from daemon import speaker
from daemon.naming import Cohort
from daemon.speaker import SpeakerModel
from models import card, export, recognition, talkers, train_speaker
from models.encoders import Encoder, Ours, Resemblyzer, Trained
from models.recipe import RecipeError
from models.recognition import Panel
from models.train_speaker import Recipe

TAUGHT = 3.0  # weight of a teacher, where there is one
SEED = 1


def add(verbs: argparse._SubParsersAction) -> None:
    """Add them to a parser."""
    made = Recipe()
    verb = verbs.add_parser("train-speaker", help="train a network that tells people by their voices")
    _add_corpora(verb)
    verb.add_argument("--out", type=Path, required=True, help="folder for the utterances, the checkpoint and the log")
    verb.add_argument("--teacher", action="store_true", help="also learn where Resemblyzer places voices")
    verb.add_argument("--share", type=float, default=1.0, help="of the people, for a learning curve; default: 1")
    verb.add_argument("--steps", type=int, default=made.steps, help=f"default: {made.steps}")
    verb.add_argument("--utterances", type=int, default=made.utterances, help=f"default: {made.utterances}")
    verb.add_argument("--seed", type=int, default=made.seed)
    verb.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: one per core")
    verb.set_defaults(verb=_train)
    verb = verbs.add_parser("export-speaker", help="checkpoint to .onnx and .plan, with a cohort of voices")
    _add_corpora(verb)
    verb.add_argument("--from", type=Path, required=True, dest="folder", help="folder of a training")
    verb.add_argument("--version", default="1")
    verb.add_argument("-o", type=Path, required=True, dest="path", help="the .onnx file; the .plan is put beside it")
    verb.set_defaults(verb=_export)
    verb = verbs.add_parser("evaluate-speakers", help="equal error rates, costs and homes of speaker networks, on dev")
    _add_corpora(verb)
    verb.add_argument("--out", type=Path, help="folder for tables (.md), all figures (.json) and DET curves (.svg)")
    verb.add_argument("--peer", action="store_true", help="Resemblyzer too, on the same people and conditions")
    verb.add_argument(
        "--training", type=Path, action="append", default=[], help="a folder of a training, judged as well"
    )
    verb.add_argument("--card", type=Path, help="model card whose figures are replaced")
    verb.add_argument("--seed", type=int, default=SEED)
    verb.add_argument("model", type=Path, nargs="*", help="speaker models, .plan")
    verb.set_defaults(verb=_evaluate)


def _add_corpora(verb: argparse.ArgumentParser) -> None:
    told = "folder with manifest.csv and recordings; may be given several times"
    verb.add_argument("--corpus", type=Path, required=True, action="append", dest="corpora", help=told)


def at_least(options: argparse.Namespace, **least: int) -> None:
    """`RecipeError` names the first option whose number is smaller than it may be."""
    for name, number in least.items():
        if getattr(options, name) < number:
            raise RecipeError(f"--{name} {getattr(options, name)} is too little: at least {number}")


def _train(options: argparse.Namespace) -> None:
    at_least(options, steps=1, utterances=1, seed=0, threads=1)
    if not 0 < options.share <= 1:
        raise RecipeError(f"--share {options.share:g} is no share of the people: more than 0, at most 1")
    torch.set_num_threads(options.threads)
    taught = TAUGHT if options.teacher else 0.0
    wanted = {name: getattr(options, name) for name in ("seed", "steps", "utterances", "share")}
    made = Recipe(taught=taught, **wanted)
    teacher = Resemblyzer() if options.teacher else None
    train_speaker.train(options.corpora, options.out, made, teacher=teacher, processes=options.threads)


def _export(options: argparse.Namespace) -> None:
    export.may_lie_at(options.path, ".onnx")
    network = train_speaker.load(options.folder)[1]
    cohort = recognition.cohort(options.corpora, Trained(network, options.folder.name), SEED)
    metadata = {**export.features("hamming"), **speaker.encoded(cohort), "version": options.version}
    export.write(network, network.receptive_field, options.path, metadata, output="items")
    model = SpeakerModel.load(options.path.with_suffix(".plan"))
    print(f"{model.path}: {network.parameters_in_all} parameters, {len(model.cohort)} voices in its cohort")


def _evaluate(options: argparse.Namespace) -> None:
    at_least(options, seed=0)
    models = [SpeakerModel.load(path) for path in options.model]
    encoders: list[tuple[Encoder, talkers.Embeddings]] = [(Ours(model), model.cohort) for model in models]
    others: list[Encoder] = [Trained(train_speaker.load(f)[1], f.name) for f in options.training]
    if options.peer:
        others.append(Resemblyzer())
    encoders += [(encoder, recognition.cohort(options.corpora, encoder, SEED)) for encoder in others]
    panel = Panel.gather(options.corpora, options.seed)
    judged = [panel.judge(encoder, Cohort(cohort)) for encoder, cohort in encoders]
    print(recognition.report(judged))
    if options.out:
        recognition.write(options.out, judged)
    if options.card:
        card.replace_figures(options.card, recognition.report(judged))
