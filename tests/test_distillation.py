"""A network with a teacher learns what the teacher says."""

import msgspec
import numpy as np
import pytest
import torch

from daemon.features import MELS
from models import networks, train
from models.augment import IGNORED
from models.recipe import Network, Recipe

MADE = Recipe(
    words=("up", "down"),
    network=Network(residual=4, gate=4, skip=4, dilations=(1, 2)),
    rounds=(60,),
    frames=300,
    rate=2e-2,
    warm_up=1,
    teacher_share=1.0,
)


def teacher() -> networks.Network:
    torch.manual_seed(7)
    made = networks.build(
        msgspec.structs.replace(MADE, network=Network(residual=6, gate=8, skip=8, dilations=(1, 2, 4)))
    )
    with torch.no_grad():
        made.out.weight *= 20  # it is sure of what it says, and says another thing of every frame
    return made.eval()


def frames(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(1, 1, (2, 60, MELS)).astype(np.float32))


def divergence(student: networks.Network, wise: networks.Network) -> float:
    """Of what they say of frames that were not learnt from."""
    with torch.inference_mode():
        said, learnt = (made(frames(1000)).log_softmax(-1) for made in (wise, student))
    return torch.nn.functional.kl_div(learnt[:, -said.shape[1] :], said, log_target=True, reduction="batchmean").item()


def test_the_student_comes_to_say_what_the_teacher_says() -> None:
    wise = teacher()
    training = train.Training(MADE, wise)
    before = divergence(training.network, wise)
    for step in range(MADE.steps):
        training.advance(frames(step), torch.full((2, 60), step % 3))
    assert divergence(training.network, wise) < before / 5


def test_both_are_asked_about_the_same_frames() -> None:
    wise, training = teacher(), train.Training(MADE, teacher())
    heard = frames(0) * torch.linspace(0, 8, 60)[:, None]
    with torch.no_grad():
        training.network.out.weight *= 20
        losses = []
        for end in range(max(wise.receptive_field, training.network.receptive_field), heard.shape[1] + 1):
            learnt, said = (made(heard[:, end - made.receptive_field : end])[:, 0] for made in (training.network, wise))
            losses.append(torch.nn.functional.cross_entropy(learnt, said.softmax(-1)).item())
    assert training.advance(heard, torch.zeros((2, 60), dtype=torch.long)) == pytest.approx(np.mean(losses), rel=0.02)


def test_targets_do_not_matter_to_whom_only_the_teacher_teaches() -> None:
    losses = []
    for target in (0, 2):
        training = train.Training(MADE, teacher())
        losses.append([training.advance(frames(step), torch.full((2, 60), target)) for step in range(5)])
    assert losses[0] == losses[1]
    training = train.Training(msgspec.structs.replace(MADE, teacher_share=0.5), teacher())
    half = training.advance(frames(0), torch.full((2, 60), 0))
    assert half != losses[0][0]


def test_frames_that_train_nothing_still_have_a_teacher() -> None:
    training = train.Training(msgspec.structs.replace(MADE, teacher_share=0.5), teacher())
    targets = torch.full((2, 60), IGNORED)
    targets[0, -1] = 1
    assert np.isfinite(training.advance(frames(0), targets))
