"""Train a speaker network: people and further ones made of them speak, and the network learns to tell them apart.

It is trained to classify them, with an additive margin (Wang et al., arXiv 1801.05599), and where there is a teacher,
to place each where the teacher places them. Killed and started again with the same arguments it goes on from its last
checkpoint.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from daemon.features import MELS, SAMPLE_RATE
from models import talkers, utterances
from models.corpus import Recording
from models.discriminant import finish, pooled
from models.encoders import Encoder
from models.notes import write_checkpoint
from models.precision import mixed
from models.recipe import RecipeError
from models.speaker import Speaker
from models.talkers import Talker
from models.utterances import FRAMES, Heard

CHECKPOINT, RECIPE, LOG, PLACES = "checkpoint.pt", "recipe.json", "log.txt", "teacher.npz"
NETWORK = "network.pt"  # that a training leaves
STATEFUL = ("network", "heads", "optimiser")
NORMALISED_ON = 256  # utterances
CLIP = 5.0  # largest norm of a gradient
SCALE, MARGIN = 30.0, 0.2  # of the cosines, and by which the right one must be larger
MARGIN_FROM, MARGIN_FULL = 0.1, 0.4  # of the steps, between which the margin grows
LENGTHS = (60, 80, 100, 150, 200)  # frames that are pooled, the same in all utterances of a step
EARLY = 30  # frames before the speech that the pooled ones may begin
MOST_MASKED_MELS, MOST_MASKED_FRAMES = 6, 20
TILT, GAIN = 0.7, 0.7  # of log-mel values: another microphone, another distance
PASSES = 1  # over all utterances, by which the last layer is computed
TAUGHT_S = 6.0  # of each talker's speech that the teacher hears
CHECK_EVERY = 250  # steps
CPU = torch.device("cpu")

Count = Annotated[int, Meta(ge=1, le=10_000_000)]


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a training."""

    seed: Annotated[int, Meta(ge=0, le=2**31)] = 1
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0  # of the people, who are heard
    further: bool = True  # people made of each
    rooms: Count = 80  # that are simulated
    utterances: Count = 12_000
    steps: Count = 1_500
    batch: Count = 48
    rate: Annotated[float, Meta(gt=0, le=1)] = 2e-3  # peak learning rate; linear warm-up, then half a cosine down to 0
    warm_up: Count = 150
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 1e-2
    taught: Annotated[float, Meta(ge=0, le=100)] = 0.0  # weight of the teacher's places in the loss


class Heads(nn.Module):
    """What only the training needs: where each talker lies, and the way to the teacher's places."""

    def __init__(self, embedding: int, people: int, teacher: int) -> None:
        super().__init__()
        self.people = nn.Parameter(torch.randn(people, embedding))
        self.places = nn.Linear(embedding, teacher)


class Training:
    """A network, its heads and its optimiser at some step; what a checkpoint holds."""

    def __init__(self, made: Recipe, people: int, places: Tensor | None) -> None:
        torch.manual_seed(made.seed)
        self.made, self.places, self.step = made, places, 0
        self.network = Speaker()
        self.heads = Heads(self.network.size.embedding, people, places.shape[1] if places is not None else 1)
        both = [*self.network.parameters(), *self.heads.parameters()]
        self.optimiser = torch.optim.AdamW(both, made.rate, weight_decay=made.weight_decay)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        write_checkpoint(state | {"step": self.step}, folder / CHECKPOINT)

    def restore(self, folder: Path) -> None:
        """Go back to the checkpoint."""
        state = torch.load(folder / CHECKPOINT, "cpu", weights_only=True)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]

    def advance(self, frames: Tensor, who: Tensor) -> float:
        """One step on (batch, time, MELS) frames of so many talkers; returns the share that is told right."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        with mixed(CPU):
            embeddings = self.network.embed(frames).float()
        cosines = embeddings @ nn.functional.normalize(self.heads.people, dim=-1).T
        loss = self._classified(cosines, who)
        if self.places is not None:
            placed = nn.functional.cosine_similarity(self.heads.places(embeddings), self.places[who])
            loss = loss + self.made.taught * (1 - placed).mean()
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        self.step += 1
        return (cosines.argmax(1) == who).float().mean().item()

    def _classified(self, cosines: Tensor, who: Tensor) -> Tensor:
        done = self.step / self.made.steps
        margin = MARGIN * min(1.0, max(0.0, (done - MARGIN_FROM) / (MARGIN_FULL - MARGIN_FROM)))
        right = nn.functional.one_hot(who, cosines.shape[1])
        return nn.functional.cross_entropy(SCALE * (cosines - margin * right), who)

    def _rate(self) -> float:
        """A linear warm-up, then half a cosine."""
        made = self.made
        if self.step < made.warm_up:
            return made.rate * (self.step + 1) / made.warm_up
        done = (self.step - made.warm_up) / max(1, made.steps - made.warm_up)
        return made.rate * 0.5 * (1 + math.cos(math.pi * done))


class Sampler:
    """What is heard in each step: some utterances, all cut to one length, changed as other microphones would."""

    def __init__(self, heard: Heard, made: Recipe, receptive_field: int, *, people: int) -> None:
        """Of utterances of the first `people` talkers."""
        self.heard, self.made, self.lead = heard, made, receptive_field - 1
        self.numbers = np.flatnonzero(np.asarray(heard.spans[:, 0]) < people)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(batch, time, MELS) frames, and who speaks in each."""
        rng = np.random.default_rng((self.made.seed, step))
        numbers = np.sort(rng.choice(self.numbers, self.made.batch))
        length = int(rng.choice(LENGTHS)) + self.lead
        cut = []
        for number in numbers:
            _, first, past = self.heard.spans[number]
            low = max(0, first - self.lead - EARLY)
            high = max(low, min(past - length, FRAMES - length))
            start = min(int(rng.integers(low, high + 1)), FRAMES - length)
            cut.append(self.heard.frames[number, start : start + length].astype(np.float32))
        frames = np.stack(cut)
        _disturb(frames, rng)
        return torch.from_numpy(frames), torch.from_numpy(self.heard.spans[numbers, 0].astype(np.int64))


def _disturb(frames: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Tilt, gain and masks, of each utterance its own."""
    count, length, _ = frames.shape
    slope = np.linspace(-1, 1, MELS, dtype=np.float32)
    frames += rng.uniform(-TILT, TILT, (count, 1, 1)).astype(np.float32) * slope
    frames += rng.uniform(-GAIN, GAIN, (count, 1, 1)).astype(np.float32)
    for one in frames:
        mean = one.mean()
        width, wait = int(rng.integers(MOST_MASKED_MELS + 1)), int(rng.integers(MOST_MASKED_FRAMES + 1))
        mel, frame = int(rng.integers(MELS - width + 1)), int(rng.integers(length - wait + 1))
        one[:, mel : mel + width] = mean
        one[frame : frame + wait] = mean


def load(folder: Path) -> tuple[Recipe, Speaker]:
    """The recipe of a training and the network that it left."""
    made = _read(folder / RECIPE)
    network = Speaker()
    try:
        network.load_state_dict(torch.load(folder / NETWORK, "cpu", weights_only=True))
    except FileNotFoundError as error:
        raise RecipeError(f"{folder} holds no training that came to its end") from error
    return made, network.eval()


def _read(path: Path) -> Recipe:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recipe)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{path}: {error}") from error


def train(
    corpora: Sequence[Path], folder: Path, made: Recipe, *, teacher: Encoder | None = None, processes: int = 1
) -> None:
    """Run or go on with a training in `folder`: its recipe, log.txt, utterances and the checkpoint.

    That on a share of the people is in a folder within it, with its own recipe, log.txt and checkpoint. So many
    processes make utterances.
    """
    own = folder if made.share == 1 else folder / f"share_{made.share:g}"
    _prepare(folder, msgspec.structs.replace(made, share=1.0))
    _prepare(own, made)
    recorded: Mapping[str, Sequence[Recording]] = talkers.people(corpora, "train")
    heard_names = set(talkers.first(recorded, made.share))
    if teacher:
        recorded = talkers.apart(recorded, teacher)
    company = talkers.company(recorded, further=made.further)
    places = _places(company, teacher, folder / PLACES) if teacher else None
    heard = Heard(folder / "utterances", made.utterances)
    surroundings = utterances.around(corpora, made.rooms, made.seed)
    heard.render(company, surroundings, made.seed, processes=processes)
    own_names = sum(bool({name, name.rpartition(talkers.PART)[0]} & heard_names) for name in recorded)
    count = own_names * (len(company) // len(recorded))
    training = Training(made, count, places)
    if (own / CHECKPOINT).exists():
        training.restore(own)
    else:
        frames = heard.frames[:NORMALISED_ON].reshape(-1, MELS).astype(np.float32)
        training.network.normalise(torch.from_numpy(frames))
    numbers = training.network.parameters_in_all
    print(f"{len(recorded)} people, {len(company)} with those made of them, {count} are heard; {numbers} parameters")
    _run(training, Sampler(heard, made, training.network.receptive_field, people=count), own)


def _prepare(folder: Path, made: Recipe) -> None:
    """Refuse a folder that holds another training."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / RECIPE).exists() and _read(folder / RECIPE) != made:
        raise RecipeError(f"{folder} holds a training with another recipe; take another folder, or remove it")
    (folder / RECIPE).write_bytes(msgspec.json.encode(made))


def _finish(network: Speaker, sampler: Sampler) -> None:
    """The last layer is computed, of what the trained ones make of many utterances."""
    network.eval()
    seen, who = [], []
    with torch.inference_mode(), mixed(CPU):
        batches = max(1, round(PASSES * len(sampler.numbers) / sampler.made.batch))
        for number in range(batches):
            frames, people = sampler.batch(sampler.made.steps + number)
            seen.append(pooled(network, frames).double().numpy())
            who.append(people.numpy())
    finish(network, np.concatenate(seen), np.concatenate(who))


def _run(training: Training, sampler: Sampler, folder: Path) -> None:
    right = []
    with tqdm(initial=training.step, total=training.made.steps, unit="step", mininterval=5) as bar:
        while training.step < training.made.steps:
            right.append(training.advance(*sampler.batch(training.step)))
            bar.update()
            if training.step % CHECK_EVERY == 0 or training.step == training.made.steps:
                with (folder / LOG).open("a") as log:
                    log.write(f"step {training.step}, told right {100 * np.mean(right):.1f} %\n")
                right.clear()
                training.save(folder)
    _finish(training.network, sampler)
    torch.save(training.network.state_dict(), folder / NETWORK)


def _places(company: Sequence[Talker], teacher: Encoder, path: Path) -> Tensor:
    """Where the teacher places each talker, (talkers, its dimensions), heard once and kept."""
    if not path.exists():
        places = [_place(talker, teacher) for talker in tqdm(company, unit="talker", desc="teacher")]
        np.savez(path, places=np.stack(places))
    with np.load(path, allow_pickle=False) as held:
        return torch.from_numpy(held["places"])


def _place(talker: Talker, teacher: Encoder) -> NDArray[np.float32]:
    rng = np.random.default_rng(zlib.crc32(talker.name.encode()))
    order = rng.permutation(len(talker.said))
    sound = np.concatenate([talker.said[int(index)] for index in order])
    return teacher.embed(sound[: round(TAUGHT_S * SAMPLE_RATE)])
