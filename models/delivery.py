"""What a training leaves: a model with thresholds set on the dev splits, where it hears better than the last one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models import conditions, evaluate, gate, networks, train
from models.conditions import Session, Surroundings
from models.corpus import HEARD_KINDS, Recording, read_manifest, select
from models.evaluate import Scored
from models.export import export, metadata
from models.networks import Network
from models.recipe import Recipe

SEED = 1  # of the order and the noise of an evaluation


def deliver(folder: Path, corpora: Sequence[Path], path: Path, *, version: str, force: bool) -> None:
    """Export the training in `folder` to `path` (.onnx) and the .plan beside it; `GateError` where it is no better."""
    made, network = train.load(folder)
    dev = evaluate.listen(heard(corpora, unseen=True), made.window_function)
    told = about(made, network, train.scored(network, dev), version)
    with gate.opened(path, sessions(corpora, unseen=True), force=force) as new:
        export(network, new, told)


def about(made: Recipe, network: Network, scored: Sequence[Scored], version: str) -> dict[str, str]:
    """The metadata of a network, with thresholds by what it makes of the recordings."""
    smoothing = networks.smoothing_of(network)
    thresholds = {c.word: c.recommended() for c in evaluate.curves(scored, made.words, smoothing=smoothing)}
    onset_to_end = evaluate.onset_to_end(scored, thresholds, smoothing=smoothing)
    parts = networks.parts_of(network)
    return metadata(made, thresholds, onset_to_end=onset_to_end, version=version, parts=parts)


def sessions(corpora: Sequence[Path], *, unseen: bool, seed: int = SEED) -> tuple[list[Session], Surroundings]:
    """What a model is judged on: not by near phrases, which nobody says by the hour."""
    around = select(_manifests(corpora), "dev", HEARD_KINDS | {"rir"}, shippable=False)
    said = [recording for recording in heard(corpora, unseen=unseen) if not recording.near]
    return conditions.sessions(said, seed), conditions.surroundings(around)


def heard(corpora: Sequence[Path], *, unseen: bool) -> list[Recording]:
    """The dev splits; and, of the train splits, the speech that is left out of training for its licence."""
    recordings = _manifests(corpora)
    dev = select(recordings, "dev", HEARD_KINDS, shippable=False)
    return [*dev, *(r for r in select(recordings, "train", {"speech"}, shippable=False) if r.share_alike and unseen)]


def _manifests(corpora: Sequence[Path]) -> list[Recording]:
    return [recording for folder in corpora for recording in read_manifest(folder)]
