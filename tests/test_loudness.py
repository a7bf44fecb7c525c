"""How loud it was in the last second."""

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from daemon.loudness import FLOOR_DB, Loudness

BLOCK = SAMPLE_RATE // 10


def test_it_is_that_of_the_last_second_however_it_is_cut() -> None:
    level = Loudness()
    assert level.db == FLOOR_DB
    for amplitude, db in ((32767, 0.0), (0, FLOOR_DB), (3277, -20.0), (-32768, 0.0), (1, -90.3)):
        for _ in range(10):
            level.push(np.full(BLOCK, amplitude, np.int16))
        assert level.db == pytest.approx(db, abs=0.05)
    level.push(np.full(10 * SAMPLE_RATE, -3277, np.int16))
    assert level.db == pytest.approx(-20, abs=0.05)
    level.push(np.full(SAMPLE_RATE // 2, 0, np.int16))
    level.push(np.full(SAMPLE_RATE // 2, 32767, np.int16))
    assert level.db == pytest.approx(-3, abs=0.05)
