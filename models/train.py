"""Train the wake-word network on scenes: one readable script, all settings in one block.

Killed and started again with the same arguments it goes on from its last checkpoint, with the same scenes in the same
order.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from daemon.features import MELS
from models.augment import IGNORED, SCENE_FRAMES, Scenes, gather
from models.corpus import read_manifest, select
from models.evaluate import Curve, curves, listen, score
from models.wakeword import RECEPTIVE_FIELD, WakeWord

WORDS = ("alexa", "computer", "jarvis", "smart_mirror", "snowboy", "view_glass")
CHECKPOINT, SETTINGS = "checkpoint.pt", "settings.json"
STATEFUL = ("network", "average", "optimiser")
HEARD_KINDS = {"wakeword", "speech", "speaker", "noise"}
NORMALISED_ON = 64  # scenes
CLIP = 10.0  # largest norm of a gradient


class SettingsError(ValueError):
    """A training cannot go on with these settings."""


@dataclass(frozen=True)
class Settings:
    """What makes a run: the same settings and corpus give the same network."""

    words: tuple[str, ...] = WORDS
    window_function: str = "hamming"
    seed: int = 1
    steps: int = 12_000
    scenes: int = 16  # per step
    frames: int = 982  # of each scene, after its tempo was changed
    rate: float = 2e-3  # peak learning rate; linear warm-up, then half a cosine down to 0
    warm_up: int = 500  # steps
    weight_decay: float = 1e-4
    average: float = 0.999  # of the weights that are exported, per step
    check_every: int = 1000  # steps between two looks at the dev split
    tempo: tuple[float, float] = (0.83, 1.2)
    warp: float = 0.1  # share by which the mel axis is stretched or squeezed, a stand-in for other vocal tracts
    tilt_db: float = 6.0  # of a straight line over the mel axis: another microphone
    masked_mels: int = 6
    gain_db: float = 6.0


class _SceneSet(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, scenes: Scenes, numbers: range) -> None:
        self.scenes, self.numbers = scenes, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        frames, targets = self.scenes[self.numbers[index]]
        return torch.from_numpy(frames), torch.from_numpy(targets)


def perturb(frames: Tensor, targets: Tensor, settings: Settings, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Change tempo, vocal tract, microphone and level of (batch, SCENE_FRAMES, MELS) frames and their targets."""
    batch = len(frames)
    tempo = torch.from_numpy(rng.uniform(*settings.tempo, (batch, 1)).astype(np.float32))
    at = (torch.arange(settings.frames) * tempo).clamp_max(SCENE_FRAMES - 2)  # (batch, frames)
    targets = targets.gather(1, at.round().long())
    frames = _interpolate(frames, at, dim=1)
    warp = torch.from_numpy(rng.uniform(1 - settings.warp, 1 + settings.warp, (batch, 1)).astype(np.float32))
    frames = _interpolate(frames, (torch.arange(MELS) * warp).clamp_max(MELS - 1.001), dim=2)
    nats = math.log(10) / 10
    tilt = torch.from_numpy(rng.uniform(-1, 1, (batch, 1, 1)).astype(np.float32)) * settings.tilt_db * nats
    gain = torch.from_numpy(rng.uniform(-1, 1, (batch, 1, 1)).astype(np.float32)) * settings.gain_db * nats
    frames = frames + gain + tilt * torch.linspace(-1, 1, MELS)
    for row in range(batch):
        width = int(rng.integers(settings.masked_mels + 1))
        start = int(rng.integers(MELS - width))
        frames[row, :, start : start + width] = frames[row].mean()
    return frames, targets


def _interpolate(frames: Tensor, at: Tensor, dim: int) -> Tensor:
    """Values of (batch, time, mels) frames between the items of an axis; `at` is (batch, n), at most size - 1."""
    shape = (at.shape[0], -1, frames.shape[2]) if dim == 1 else (at.shape[0], frames.shape[1], -1)
    low = at.long()
    weight = (at - low).unsqueeze(3 - dim)
    low = low.unsqueeze(3 - dim)
    return frames.gather(dim, low.expand(shape)) * (1 - weight) + frames.gather(dim, (low + 1).expand(shape)) * weight


def posteriors(network: nn.Module, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Posteriors of all words, (frames, words), 0 until the receptive field is full; in bounded stretches."""
    stretch, result = 60_000, np.zeros((len(frames), network.out.out_channels - 1), np.float32)
    with torch.inference_mode():
        for start in range(0, len(frames) - RECEPTIVE_FIELD + 1, stretch):
            piece = torch.from_numpy(frames[start : start + stretch + RECEPTIVE_FIELD - 1])[None]
            values = network(piece).softmax(-1)[0, :, 1:].numpy()
            result[start + RECEPTIVE_FIELD - 1 : start + RECEPTIVE_FIELD - 1 + len(values)] = values
    return result


def look(network: nn.Module, heard: list, words: tuple[str, ...]) -> list[Curve]:  # type: ignore[type-arg]
    """Curves of a network in training on recordings that were listened to."""
    network.eval()
    return curves(score(heard, lambda frames: posteriors(network, frames)), words)


def summary(results: list[Curve]) -> str:
    """One line: misses in % at 1 and at 0 false alarms per hour, word by word, and their means."""
    rows = [(100 * c.misses[c.at_alarms(1.0)], 100 * c.misses[c.at_alarms(0.0)]) for c in results]
    means = np.mean(rows, axis=0)
    words = "  ".join(f"{c.word} {one:.0f}/{none:.0f}" for c, (one, none) in zip(results, rows, strict=True))
    return f"misses % at <= 1 / 0 alarms per hour: mean {means[0]:.1f}/{means[1]:.1f}  {words}"


def read_settings(folder: Path) -> Settings:
    """The settings of a training, from its folder."""
    stated = json.loads((folder / SETTINGS).read_text())
    return Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items()})


def average_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a training's last checkpoint."""
    saved = torch.load(folder / CHECKPOINT, weights_only=True)["average"]
    return {key.removeprefix("module."): value for key, value in saved.items() if key.startswith("module.")}


class Training:
    """A network, its running average and its optimiser at some step; what a checkpoint holds."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.step = 0
        self.network = WakeWord(1 + len(settings.words))
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.average)
        )
        self.optimiser = torch.optim.AdamW(self.network.parameters(), settings.rate, weight_decay=settings.weight_decay)

    def normalise(self, frames: Tensor) -> None:
        """Fit the input scale of both networks to (n, MELS) frames."""
        for network in (self.network, self.average.module):
            network.normalise(frames)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL} | {"step": self.step}
        torch.save(state, folder / f"{CHECKPOINT}.new")
        (folder / f"{CHECKPOINT}.new").replace(folder / CHECKPOINT)

    def restore(self, folder: Path) -> None:
        """Go back to the checkpoint."""
        state = torch.load(folder / CHECKPOINT, weights_only=True)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]

    def advance(self, frames: Tensor, targets: Tensor) -> float:
        """One step on a batch of scenes; returns the loss."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, self.step))
        frames, targets = perturb(frames.float(), targets.long(), settings, rng)
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.step, settings)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.network(frames)
        heard = targets[:, RECEPTIVE_FIELD - 1 :]
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), heard.flatten(), ignore_index=IGNORED)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return loss.item()


def rate(step: int, settings: Settings) -> float:
    """The learning rate of a step: a linear warm-up, then half a cosine."""
    if step < settings.warm_up:
        return settings.rate * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / (settings.steps - settings.warm_up)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * done))


def train(corpus: Path, folder: Path, settings: Settings) -> None:
    """Run or go on with a training in `folder`: settings.json, log.txt and the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))  # one core makes scenes
    scenes = Scenes(gather(corpus, settings.words, settings.seed), settings.window_function, settings.seed)
    heard = listen(select(read_manifest(corpus), "dev", HEARD_KINDS, shippable=False), settings.window_function)
    training = Training(settings)
    if (folder / CHECKPOINT).exists():
        if read_settings(folder) != settings:
            raise SettingsError(f"{folder} holds a training with other settings; take another folder, or remove it")
        training.restore(folder)
    else:
        first = np.concatenate([scenes[index][0] for index in range(NORMALISED_ON)])
        training.normalise(torch.from_numpy(first).float())
        (folder / SETTINGS).write_text(json.dumps(asdict(settings), indent=1) + "\n")
    remaining = range(training.step * settings.scenes, settings.steps * settings.scenes)
    loader = DataLoader(_SceneSet(scenes, remaining), settings.scenes, num_workers=1, prefetch_factor=4)
    with tqdm(loader, initial=training.step, total=settings.steps, unit="step", mininterval=5) as bar:
        for frames, targets in bar:
            loss = training.advance(frames, targets)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if training.step % settings.check_every == 0 or training.step == settings.steps:
                results = look(training.average.module, heard, settings.words)
                with (folder / "log.txt").open("a") as log:
                    log.write(f"step {training.step}, {summary(results)}\n")
                training.save(folder)
