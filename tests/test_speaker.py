"""The speaker model as the satellite runs it: frames in, embeddings out, and only from a file that is one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pulse
from daemon.features import HOP, MELS, SAMPLE_RATE, WINDOW, LogMel
from daemon.memory import Memory
from daemon.people import People
from daemon.speaker import COHORT, HEADS, SpeakerError, SpeakerModel, Voice, encoded, normed, pooled, word_start
from tests.shipped import MODEL, SPEAKER, sound, speaker_model
from tests.test_people import person


def frames(count: int) -> np.ndarray:
    return LogMel().push(sound())[100 : 100 + count]


def test_the_shipped_model_is_whole() -> None:
    model = speaker_model()
    assert model.embedding == 128
    np.testing.assert_allclose(np.linalg.norm(model.cohort, axis=1), 1, atol=1e-3)
    assert SPEAKER.stat().st_size < 1_500_000


def test_items_are_those_of_the_network_however_they_are_computed() -> None:
    model, given = speaker_model(), frames(160)
    state = pulse.State(model.plan, kernels="reference")
    expected = [
        state.run(given[None, at : at + model.plan.pulse])[0][0].copy() for at in range(0, 160, model.plan.pulse)
    ]
    found = Voice(model).items(given)
    np.testing.assert_allclose(found, np.concatenate(expected)[model.plan.delay[0] :], atol=1e-4)


def test_what_fills_no_pulse_is_left_out_in_front() -> None:
    voice, given = Voice(speaker_model()), frames(163)
    np.testing.assert_array_equal(voice.items(given), voice.items(given[3:]))


def test_a_voice_does_not_remember_the_one_before() -> None:
    voice = Voice(speaker_model())
    first = voice.embed(frames(120))
    voice.embed(frames(200))
    np.testing.assert_array_equal(voice.embed(frames(120)), first)


def test_pooling_weighs_each_head_by_itself() -> None:
    items = np.zeros((3, HEADS + 2 * HEADS), np.float32)
    items[1, 0] = 50  # the first head hears the second item alone, the others all alike
    items[:, HEADS:] = np.arange(3)[:, None]
    np.testing.assert_allclose(pooled(items), normed(np.ones(2 * HEADS, np.float32)), atol=1e-6)
    items[2, HEADS:] = 10
    weighed = pooled(items)
    assert weighed[2] / weighed[0] == pytest.approx((0 + 1 + 10) / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({COHORT: ""}, "no speaker model"),
        ({COHORT: "99999999999999999999x128:"}, "no speaker model"),
        ({COHORT: "10x128:"}, "not of 20 to 5000 voices"),
        ({COHORT: "400x99999:"}, "not of 20 to 5000 voices"),
        ({COHORT: "400x128:????"}, "not base64"),
        ({COHORT: "400x128:AAAA"}, "holds 3 numbers"),
        (encoded(np.ones((30, 64), np.float32)), "where .* was expected"),
        ({"features": "{}"}, "other features"),
    ],
)
def test_what_is_no_speaker_model_is_refused(tmp_path: Path, metadata: dict[str, str], reason: str) -> None:
    plan = speaker_model().plan
    path = tmp_path / "other.plan"
    replace(plan, metadata=dict(plan.metadata) | metadata).save(path)
    with pytest.raises(SpeakerError, match=reason):
        SpeakerModel.load(path)


@pytest.mark.parametrize("path", [MODEL, Path("none.plan")])
def test_another_file_is_refused(path: Path) -> None:
    with pytest.raises(SpeakerError, match="speaker model"):
        SpeakerModel.load(path)


def test_another_network_is_another_space(tmp_path: Path) -> None:
    model = speaker_model()
    other = replace(model, plan=replace(model.plan, weights=model.plan.weights + 1))
    People(tmp_path).write(person("ana"), model)
    assert People(tmp_path).read(other) == []


@pytest.mark.parametrize("cuts", [[8] * 60, [1, 7, 30, 100, 3] * 4])
def test_memory_gives_back_the_latest_frames(cuts: list[int]) -> None:
    memory, given, first = Memory(2.0), frames(480), 1000
    memory.reset(first)
    at = 0
    for cut in cuts:
        memory.push(given[at : at + cut])
        at = min(len(given), at + cut)
        kept = given[max(0, at - 200) : at]
        np.testing.assert_array_equal(memory.since(0), kept)
        np.testing.assert_array_equal(memory.since(first + (at - 50) * HOP), given[max(0, at - 50, at - 200) : at])
        assert memory.past_sample == first + (at - 1) * HOP + WINDOW
    assert memory.since(first + at * HOP).shape == (0, MELS)


def test_the_span_of_a_word_leaves_room_for_the_receptive_field() -> None:
    end = 10 * SAMPLE_RATE
    model = speaker_model()
    assert (end - word_start(model, end)) / HOP >= model.lead + 120
