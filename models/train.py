"""Train a wake-word network: scenes are made, the network learns from them, hears where it is wrong, and goes on.

Killed and started again with the same arguments it goes on from its last checkpoint, with the same scenes in the same
order.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn as averaging
from tqdm import tqdm

from daemon.features import MELS
from models import calibration, pool, recipe
from models.augment import ALARM, IGNORED, Hearing, Scenes, gather
from models.cast import Cast
from models.corpus import HEARD_KINDS, MANIFEST, CorpusError, Recording, read_manifest, select
from models.evaluate import Curve, Scored, curves, listen, score
from models.mining import mine
from models.networks import Network, build, posteriors, smoothing_of
from models.notes import write_checkpoint, write_note
from models.parts import PARTS, part_targets
from models.precision import mixed
from models.recipe import Recipe, RecipeError
from models.rooms import gather_rooms
from models.sampler import Sampler

CHECKPOINT, RECIPE, LOG = "checkpoint.pt", "recipe.yaml", "log.txt"
HEARD = "manifests.sha256"  # of the corpora, in their order
SCENES = ("scenes.*", "heard*", "mined*")
STATEFUL = ("network", "average", "settled", "optimiser")
NORMALISED_ON = 256  # scenes
CLIP = 10.0  # largest norm of a gradient
RESTARTED = 50  # steps of the warm-up of a round that has a learning rate of its own
TIMED_STEPS = 3
OBSERVED_EVERY = 100  # steps, after which the ranges of a rounded network are looked up again


def scored(network: Network, heard: list) -> list[Scored]:  # type: ignore[type-arg]
    """What a network makes of recordings that were listened to."""
    network.eval()
    return score(heard, lambda frames: posteriors(network, frames))


def look(network: Network, heard: list, words: tuple[str, ...]) -> list[Curve]:  # type: ignore[type-arg]
    """Curves of a network in training on recordings that were listened to."""
    return curves(scored(network, heard), words, smoothing=smoothing_of(network))


def summary(results: list[Curve]) -> tuple[float, str]:
    """Mean misses in % at 1 and at 0 false alarms per hour in one number; and one line, word by word."""
    rows = [(100 * c.misses[c.at_alarms(1.0)], 100 * c.misses[c.at_alarms(0.0)]) for c in results]
    means = np.mean(rows, axis=0)
    words = "  ".join(f"{c.word} {one:.0f}/{none:.0f}" for c, (one, none) in zip(results, rows, strict=True))
    return float(means.mean()), f"misses % at <= 1 / 0 alarms per hour: mean {means[0]:.1f}/{means[1]:.1f}  {words}"


def load(folder: Path) -> tuple[Recipe, Network]:
    """The recipe of a training and the network that it came to by its last checkpoint."""
    made = recipe.read(folder / RECIPE)
    try:
        state = torch.load(folder / CHECKPOINT, "cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RecipeError(f"{folder} holds no training that got as far as a checkpoint") from error
    saved = state["settled"] if state["settled"]["n_averaged"] else state["average"]
    network = build(made)
    network.load_state_dict({k.removeprefix("module."): v for k, v in saved.items() if k.startswith("module.")})
    return made, network.eval()


class Training:
    """A network, its running average and its optimiser at some step; what a checkpoint holds.

    Where rounds restart, chance decides how good the one is that a round ends with; so the result is the mean of those
    of all rounds that learnt from mined scenes (P. Izmailov et al., Averaging weights leads to wider optima and better
    generalization, arXiv 1803.05407).
    """

    def __init__(self, made: Recipe, teacher: Network | None = None) -> None:
        torch.manual_seed(made.seed)
        self.made = made
        self.step = 0
        self.best, self.since = math.inf, 0  # of the looks at the dev split, and how many were worse since
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = build(made).to(self.device)
        self.average = torch.optim.swa_utils.AveragedModel(self.network, multi_avg_fn=averaging(made.average))
        self.settled = torch.optim.swa_utils.AveragedModel(self.network)  # of the averages at the ends of rounds
        self.optimiser = torch.optim.AdamW(self.network.parameters(), made.rate, weight_decay=made.weight_decay)
        self.teacher = teacher and teacher.to(self.device)
        self.calibration: Tensor | None = None  # frames (1, n, MELS), by which a rounded network is calibrated

    def normalise(self, frames: Tensor) -> None:
        """Fit the input scale of both networks to (n, MELS) frames."""
        for network in (self.network, self.average.module):
            network.normalise(frames)

    @property
    def result(self) -> Network:
        """What it has come to."""
        return (self.settled if self.settled.n_averaged else self.average).module

    def restart(self) -> None:
        """Go on from the averaged weights, with an optimiser that remembers nothing."""
        self.network.load_state_dict(self.average.module.state_dict())
        self.optimiser.state.clear()

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        state |= {"step": self.step, "best": self.best, "since": self.since}
        write_checkpoint(state, folder / CHECKPOINT)

    def restore(self, folder: Path) -> None:
        """Go back to the checkpoint."""
        state = torch.load(folder / CHECKPOINT, "cpu", weights_only=True)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.best, self.since = state["step"], state["best"], state["since"]

    def advance(self, frames: Tensor, targets: Tensor) -> float:
        """One step on a batch of scenes; returns the loss."""
        frames, targets = frames.to(self.device), targets.to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.step, self.made)
        if self.calibration is not None and not self.step % OBSERVED_EVERY:
            self.network.observe(self.calibration)
        loss = self._loss(frames, targets)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        self.average.multi_avg_fn = averaging(decay(self.step, self.made))
        self.average.update_parameters(self.network)
        self.step += 1
        if self.made.restart and self.step in list(accumulate(self.made.rounds))[1:]:
            self.settled.update_parameters(self.average.module)
        return loss.item()

    def _loss(self, frames: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy with the targets and, where there is a teacher, with what it says of every frame."""
        logits = self._logits(self.network, frames)
        heard = targets[:, -logits.shape[1] :].flatten()
        asked = (heard != IGNORED).sum().clamp_min(1)
        with torch.no_grad():
            fires = 1 - logits.flatten(0, 1).softmax(-1)[:, 0] > self.made.sounds.spared
        heard = heard.where(heard != ALARM, torch.where(fires, 0, IGNORED))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), heard, ignore_index=IGNORED, reduction="sum") / asked
        if self.teacher is None:
            return loss
        with torch.no_grad():
            said = self._logits(self.teacher, frames).softmax(-1)
        items = min(said.shape[1], logits.shape[1])
        wrong = nn.functional.cross_entropy(logits[:, -items:].flatten(0, 1), said[:, -items:].flatten(0, 1))
        return (1 - self.made.teacher_share) * loss + self.made.teacher_share * wrong

    def _logits(self, network: Network, frames: Tensor) -> Tensor:
        with mixed(self.device):
            return network.logits(frames).float()


def rate(step: int, made: Recipe) -> float:
    """The learning rate of a step: a linear warm-up, then half a cosine, over all rounds or over each by itself."""
    start, steps = course(step, made)
    peak, warm_up = (made.restart, RESTARTED) if start else (made.rate, made.warm_up)
    if step - start < warm_up:
        return peak * (step - start + 1) / warm_up
    done = (step - start - warm_up) / max(1, steps - warm_up)
    return peak * 0.5 * (1 + math.cos(math.pi * done))


def course(step: int, made: Recipe) -> tuple[int, int]:
    """The first step, and how many there are, of what a step is in: all rounds, or where they restart its own."""
    if not made.restart:
        return 0, made.steps
    ends = list(accumulate(made.rounds))
    number = min(bisect_right(ends, step), len(ends) - 1)
    return ends[number] - made.rounds[number], made.rounds[number]


def decay(step: int, made: Recipe) -> float:
    """What the averaged weights keep of themselves in a step; where rounds restart, half of a round stays in them."""
    return 1 - 2 / max(2, course(step, made)[1]) if made.restart else made.average


class _Looks:
    """Looks at the dev split while training, each a line of the log."""

    def __init__(self, heard: list, folder: Path) -> None:  # type: ignore[type-arg]
        self._heard, self._folder = heard, folder

    def take(self, training: Training) -> None:
        """Note how good the network is by now, and save the checkpoint."""
        number, line = summary(look(training.result, self._heard, training.made.words))
        training.since = 0 if number < training.best else training.since + 1
        training.best = min(number, training.best)
        with (self._folder / LOG).open("a") as log:
            log.write(f"step {training.step}, {line}\n")
        training.save(self._folder)


def train(corpora: Sequence[Path], folder: Path, made: Recipe, teacher: Path | None = None) -> None:
    """Run or go on with a training in `folder`: its recipe, log.txt, scenes and the checkpoint."""
    dev = _dev(corpora, made.words)
    taught = _teacher(teacher, made) if teacher else None
    _prepare(folder, made, corpora)
    looks = _Looks(listen(dev, made.window_function), folder)
    training = Training(made, taught)
    if made.quantised:
        heard = calibration.heard(corpora, made.window_function)
        training.calibration = torch.from_numpy(heard).to(training.device)
    sounds = made.sounds
    cast = Cast(folder / "voices", sounds.voices, made.seed)
    rooms = partial(gather_rooms, count=sounds.rooms, seed=made.seed)
    in_parts = made.network.kind == "parts"
    material = gather(corpora, made.words, cast, rooms, PARTS.count if in_parts else 1)
    targets = part_targets if in_parts else None
    hearing = Hearing(
        made.window_function,
        sounds.made,
        noises=sounds.noises,
        stress_db=sounds.stress_db,
        snr_db=sounds.snr_db,
        part_targets=targets,
    )
    apart = sounds.people == "mined"
    learnt = replace(material, speech=()) if apart else material
    scenes = pool.render(Scenes(learnt, hearing, made.seed), folder / "scenes", sounds.scenes)
    silent = Scenes(material, replace(hearing, words=False, people=apart), made.seed)
    if (folder / CHECKPOINT).exists():
        training.restore(folder)
    else:
        frames = scenes.frames[:NORMALISED_ON].reshape(-1, MELS)
        training.normalise(torch.from_numpy(frames.astype(np.float32)).to(training.device))
    sampler = Sampler(made, scenes)
    with tqdm(initial=training.step, total=made.steps, unit="step", mininterval=5) as bar:
        for round_ in range(len(made.rounds)):
            if training.since >= made.patience:
                tqdm.write(f"step {training.step}: no better in {made.patience} looks at the dev split; it stops early")
                break
            if round_ and apart and not material.speech:
                tqdm.write(f"step {training.step}: it stops, as there is nobody to listen to who says other things")
                break
            if round_ and sounds.mined:
                sampler.mined.append(mine(training.average.module, silent, sounds, folder, round_))
            if round_ and made.restart and training.step == sum(made.rounds[:round_]):
                training.restart()
            while training.step < sum(made.rounds[: round_ + 1]) and training.since < made.patience:
                loss = training.advance(*sampler.batch(training.step))
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                if training.step % made.check_every == 0 or training.step == sum(made.rounds[: round_ + 1]):
                    looks.take(training)


def _dev(corpora: Sequence[Path], words: tuple[str, ...]) -> list[Recording]:
    """The dev splits; without what synthesisers said, if people say all words in them."""
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    dev = select(found, "dev", HEARD_KINDS, shippable=False)
    for word in words:
        if not any(recording.says(word) for recording in dev):
            raise CorpusError(f"no recording of the dev split says {word!r}; a training is judged by some")
    people = [recording for recording in dev if not recording.made]
    return people if all(any(r.says(word) for r in people) for word in words) else dev


def _teacher(folder: Path, made: Recipe) -> Network:
    """The network of a training that hears as this one and knows the same words."""
    taught, network = load(folder)
    for name in ("words", "window_function"):
        theirs, ours = getattr(taught, name), getattr(made, name)
        if theirs != ours:
            raise RecipeError(f"{folder} is no teacher: its {name} is {theirs!r}, and here {ours!r}")
    if taught.network.kind != made.network.kind:
        raise RecipeError(f"{folder} is no teacher: its network is {taught.network.kind}, not {made.network.kind}")
    return network


def _prepare(folder: Path, made: Recipe, corpora: Sequence[Path]) -> None:
    """Say what the training will take, and refuse a folder that holds another one."""
    folder.mkdir(parents=True, exist_ok=True)
    manifests = "".join(hashlib.sha256((corpus / MANIFEST).read_bytes()).hexdigest() + "\n" for corpus in corpora)
    if (folder / HEARD).exists() and (folder / HEARD).read_text() != manifests:
        raise RecipeError(f"{folder} holds a training on other corpora; take another folder, or remove it")
    if (folder / RECIPE).exists() and recipe.read(folder / RECIPE) != made:
        raise RecipeError(f"{folder} holds a training with another recipe; take another folder, or remove it")
    recipe.write(made, folder / RECIPE)
    write_note(manifests, folder / HEARD)
    size, free = pool.bytes_of(made.sounds, len(made.rounds)), shutil.disk_usage(folder).free
    more = size - pool.on_disk(path for kind in SCENES for path in folder.glob(kind))
    if more > free:
        raise RecipeError(f"{folder} has {free / 1e9:.1f} GB left, and the scenes take {more / 1e9:.1f} GB")
    scenes = pool.scenes_of(made.sounds, len(made.rounds))
    minutes = made.steps * step_s(made) / 60, scenes * pool.SCENE_S / (os.cpu_count() or 1) / 60
    print(
        f"{made.steps} steps, about {minutes[0]:.0f} minutes; {scenes} scenes, about {minutes[1]:.0f} minutes and "
        f"{size / 1e9:.1f} GB"
    )


def step_s(made: Recipe) -> float:
    """Seconds that a step takes on this machine, by trying a few that are thrown away."""
    training = Training(made)
    frames, targets = torch.ones(made.batch, made.frames, MELS), torch.zeros(made.batch, made.frames, dtype=torch.long)
    training.advance(frames, targets)
    start = time.perf_counter()
    for _ in range(TIMED_STEPS):
        training.advance(frames, targets)
    return (time.perf_counter() - start) / TIMED_STEPS
