"""What an owner is told of the sound."""

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from daemon.flaws import SILENCE, Flaws

SECOND = np.zeros(SAMPLE_RATE, np.int16)
SPOKEN = np.arange(SAMPLE_RATE).astype(np.int16)


@pytest.mark.parametrize(("microphone", "times"), [(True, 2), (False, 0)])
def test_silence_of_a_microphone_is_told_once_until_there_is_sound(
    caplog: pytest.LogCaptureFixture, microphone: bool, times: int
) -> None:
    flaws = Flaws(microphone=microphone)
    for block in [SECOND] * (SILENCE // SAMPLE_RATE - 1) + [SPOKEN] + [SECOND] * 30 + [SPOKEN] + [SECOND] * 30:
        flaws.push(block, 0)
    assert caplog.text.count("digital silence") == times


def test_gaps_are_told_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    flaws = Flaws(microphone=True)
    for gaps in range(100):
        flaws.push(SPOKEN, gaps)
    assert [record.args for record in caplog.records] == [(1,), (2,), (4,), (8,), (16,), (32,), (64,)]
