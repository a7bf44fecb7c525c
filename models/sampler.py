"""What a training step hears: scenes of the pool and scenes that were mined, each time changed a little."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from daemon.features import MELS
from models.augment import ALARM, SCENE_FRAMES
from models.pool import Pool
from models.recipe import Recipe, Sounds

MOMENT = 20  # frames, after which a change of tempo or of formants is another one
BAND = 10  # mels, after which a change of formants is another one


class Sampler:
    """Which scenes a step learns from: some of the pool, some of those that fired; the same for the same step."""

    def __init__(self, made: Recipe, scenes: Pool) -> None:
        self.made, self.scenes = made, scenes
        self.mined: list[Pool] = []

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(batch, frames, MELS) float32 frames and (batch, frames) targets, changed as in `perturb`.

        Where the recipe spares what does not fire, no word in a mined scene is `ALARM`.
        """
        rng = np.random.default_rng((self.made.seed, step))
        mined = sum(map(len, self.mined))
        hard = int(rng.binomial(self.made.batch, self.made.sounds.mined_share)) if mined else 0
        parts = [self.scenes.take(np.sort(rng.integers(len(self.scenes), size=self.made.batch - hard)))]
        for _ in range(hard):
            which = int(rng.integers(mined))
            for found in self.mined:
                if which < len(found):
                    parts.append(found.take([which]))
                    break
                which -= len(found)
        frames, targets = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
        if hard and self.made.sounds.spared:
            targets[-hard:][targets[-hard:] == 0] = ALARM
        return perturb(frames.float(), targets.long(), self.made, rng)


def perturb(frames: Tensor, targets: Tensor, made: Recipe, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Change tempo, vocal tract, microphone and level of (batch, SCENE_FRAMES, MELS) frames and their targets."""
    batch, sounds = len(frames), made.sounds
    at = _moments(made, batch, rng).clamp_max(SCENE_FRAMES - 2)
    targets = targets.gather(1, at.round().long())
    frames = _interpolate(frames, at[:, :, None].expand(-1, -1, MELS), dim=1)
    frames = _interpolate(frames, _mels(made, batch, rng).clamp(0, MELS - 1.001), dim=2)
    nats = math.log(10) / 10
    tilt = _draw(rng, batch, -sounds.tilt_db, sounds.tilt_db)[:, None] * nats
    gain = _draw(rng, batch, -sounds.gain_db, sounds.gain_db)[:, None] * nats
    frames = frames + gain + tilt * torch.linspace(-1, 1, MELS)
    for row in frames:
        _mask(row, sounds, rng)
    return frames, targets


def _moments(made: Recipe, batch: int, rng: np.random.Generator) -> Tensor:
    """(batch, frames) the frame of the scene that is heard at each frame, at a tempo that comes and goes.

    The first one is any from which the scene lasts long enough.
    """
    knots = torch.from_numpy(rng.uniform(-1, 1, (batch, 1, 2 + made.frames // MOMENT)).astype(np.float32))
    haste = nn.functional.interpolate(knots, made.frames, mode="linear", align_corners=True)[:, 0]
    passed = torch.cumsum((1 + made.sounds.haste) ** haste, dim=1)
    tempo = _draw(rng, batch, *made.sounds.tempo)
    at = (passed - passed[:, :1]) / (passed[:, -1:] - passed[:, :1]) * (made.frames - 1) * tempo
    return at + _draw(rng, batch, 0, 1) * (SCENE_FRAMES - 2 - at[:, -1:]).clamp_min(0)


def _mels(made: Recipe, batch: int, rng: np.random.Generator) -> Tensor:
    """(batch, frames, MELS) the mel that is heard at each mel: of another tract, with formants that come and go."""
    warp = _draw(rng, batch, 1 - made.sounds.warp, 1 + made.sounds.warp)
    knots = rng.uniform(-1, 1, (batch, 1, 2 + made.frames // MOMENT, 2 + MELS // BAND)).astype(np.float32)
    moved = nn.functional.interpolate(
        torch.from_numpy(knots), (made.frames, MELS), mode="bilinear", align_corners=True
    )[:, 0]
    return torch.arange(MELS) * warp[:, None] + moved * made.sounds.formants


def _draw(rng: np.random.Generator, batch: int, low: float, high: float) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, (batch, 1)).astype(np.float32))


def _mask(frames: Tensor, sounds: Sounds, rng: np.random.Generator) -> None:
    """Hide some mels for the whole scene and all mels for a moment of it, now and then (SpecAugment)."""
    hidden = frames.mean()
    width = int(rng.integers(sounds.masked_mels + 1))
    start = int(rng.integers(MELS - width))
    frames[:, start : start + width] = hidden
    length = int(rng.integers(sounds.masked_frames + 1))
    first = int(rng.integers(len(frames) - length))
    frames[first : first + length] = hidden


def _interpolate(frames: Tensor, at: Tensor, dim: int) -> Tensor:
    """Values of (batch, time, mels) frames between the items of an axis; `at` has the result's shape."""
    low = at.long()
    weight = at - low
    return frames.gather(dim, low) * (1 - weight) + frames.gather(dim, low + 1) * weight
