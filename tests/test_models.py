"""Training hears what the satellite hears, and what is exported is what was trained."""

import csv
import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from msgspec.structs import replace

from daemon.detector import end_of
from daemon.features import HOP, SAMPLE_RATE, WINDOW
from models import evaluate, sampler
from models.augment import (
    BLUR_FRAMES,
    IGNORED,
    SCENE_FRAMES,
    TOLERANCE_FRAMES,
    Clip,
    Hearing,
    Material,
    Scenes,
    Takes,
    gather,
    targets,
)
from models.cast import Cast
from models.corpus import CorpusError, Recording, read_audio, read_manifest, select
from models.recipe import Recipe, Sounds
from models.rooms import gather_rooms
from models.wakeword import Size, WakeWord

FIELDS = (
    *("file", "kind", "split", "source", "label", "speaker", "duration_s", "rms_dbfs", "peak", "est_snr_db"),
    *("speech_start_s", "speech_end_s", "licence", "note"),
)


def write_corpus(folder: Path, words: tuple[str, ...]) -> Path:
    """Words are chirps, each with its own pitch; speech is noise."""
    rng = np.random.default_rng(0)
    rows = []

    def add(kind: str, split: str, label: str, sound: np.ndarray) -> None:
        file = f"{len(rows)}.wav"
        soundfile.write(folder / file, sound, SAMPLE_RATE)
        span = ("0.3", "0.9") if kind == "wakeword" else ("", "")
        rows.append([file, kind, split, "made", label, "s", len(sound) / SAMPLE_RATE, "", "", "", *span, "CC0", ""])

    for split, takes in (("train", 4), ("dev", 2)):
        for word, label in enumerate(words):
            for _ in range(takes):
                time = np.arange(round(0.6 * SAMPLE_RATE)) / SAMPLE_RATE
                chirp = 0.3 * np.sin(2 * np.pi * (400 + 900 * word + 300 * time) * time * rng.uniform(0.98, 1.02))
                add("wakeword", split, label, np.pad(chirp, round(0.3 * SAMPLE_RATE)))
        for _ in range(takes):
            add("speech", split, "noise", rng.normal(size=4 * SAMPLE_RATE) * 0.05)
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return folder


def test_manifest_is_read_and_share_alike_stays_out_of_training(tmp_path: Path) -> None:
    recordings = read_manifest(write_corpus(tmp_path, ("up",)))
    assert len(select(recordings, "train", {"wakeword"}, shippable=True)) == 4
    shared = [Recording(**{**vars(r), "licence": "CC-BY-SA-4.0"}) for r in recordings]
    assert not select(shared, "train", {"wakeword", "speech"}, shippable=True)
    assert len(select(shared, "dev", {"speech"}, shippable=False)) == 2
    assert len(read_audio(recordings[0])) == round(1.2 * SAMPLE_RATE)


@pytest.mark.parametrize("text", ["file,kind\na.wav,speech\n", ",".join(FIELDS) + "\n" + "x," * 13 + "\n"])
def test_a_bad_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(CorpusError, match=r"manifest\.csv:2"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("span", ["0.9,0.3", "0.3,0.3", "0.3,1.9", "-0.3,0.9", "nan,0.9", "0.3,inf"])
def test_speech_lies_in_its_recording(tmp_path: Path, span: str) -> None:
    manifest = write_corpus(tmp_path, ("up",)) / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("0.3,0.9", span, 1))
    with pytest.raises(CorpusError, match=r"manifest\.csv:2: bad or missing span"):
        read_manifest(tmp_path)


def test_a_recording_without_sound_is_named(tmp_path: Path) -> None:
    first = read_manifest(write_corpus(tmp_path, ("up",)))[0]
    soundfile.write(first.path, np.zeros(0), SAMPLE_RATE)
    with pytest.raises(CorpusError, match=r"0\.wav holds no sound"):
        read_audio(first)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",CC0,\n", "\n", r":2: bad or missing 'licence'"),
        (",CC0,\n", ',CC0,"loud\n', "a quotation mark too many"),
        ("1.2,,,,0.3,0.9", "inf,,,,0.3,0.9", r":2: bad or missing duration of inf s: at most 600 s"),
    ],
)
def test_a_row_that_is_cut_off_or_runs_on_is_told(tmp_path: Path, old: str, new: str, reason: str) -> None:
    manifest = write_corpus(tmp_path, ("up",)) / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(old, new, 1))
    with pytest.raises(CorpusError, match=reason):
        read_manifest(tmp_path)


def test_a_manifest_that_a_spreadsheet_wrote_is_read(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, ("up",)) / "manifest.csv"
    expected = read_manifest(tmp_path)
    manifest.write_bytes(manifest.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_manifest(tmp_path) == expected


def test_a_recording_is_as_long_as_its_row_says_and_of_numbers(tmp_path: Path) -> None:
    recording = read_manifest(write_corpus(tmp_path, ("up",)))[0]
    with pytest.raises(CorpusError, match=r"0\.wav lasts 1\.20 s, and its row in the manifest says 3600 s"):
        read_audio(dataclasses.replace(recording, duration_s=3600.0))
    sound = np.zeros(round(1.2 * SAMPLE_RATE))
    sound[100] = np.nan
    soundfile.write(recording.path, sound, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(CorpusError, match="samples that are not numbers"):
        read_audio(recording)


def test_files_of_one_name_in_two_corpora_have_voices_of_their_own(tmp_path: Path) -> None:
    recordings = []
    for name in ("one", "two"):
        folder = tmp_path / name / "audio" / "train" / "up"
        folder.mkdir(parents=True)
        first = read_manifest(write_corpus(folder, ("up",)))[0]
        recordings.append(first)
    soundfile.write(recordings[1].path, np.random.default_rng(0).normal(0, 0.1, round(1.2 * SAMPLE_RATE)), SAMPLE_RATE)
    (one,), (two,) = Cast(tmp_path / "voices", 1, 1)(recordings)
    assert not np.array_equal(one.audio, two.audio)


def test_scenes_need_speech_beside_the_words(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, ("up",)) / "manifest.csv"
    kept = [line for line in manifest.read_text().splitlines() if ",speech," not in line]
    manifest.write_text("\n".join(kept) + "\n")
    material = gather([tmp_path], ("up",), Cast(tmp_path, 0, 1), partial(gather_rooms, count=1, seed=1))
    with pytest.raises(CorpusError, match="is speech without the words"):
        Scenes(material, Hearing("hamming"), 1)


def test_targets_surround_the_end_of_the_word() -> None:
    start, end = 3 * SAMPLE_RATE, 4 * SAMPLE_RATE
    target = targets([(2, start, [end])])
    said = np.flatnonzero(target == 2)
    assert len(target) == SCENE_FRAMES
    assert len(said) == 2 * TOLERANCE_FRAMES + 1
    assert abs(end_of(int(said[TOLERANCE_FRAMES])) - end) <= HOP // 2
    assert (target[said[-1] + 1 : said[-1] + 1 + BLUR_FRAMES] == IGNORED).all()
    assert target[said[-1] + 1 + BLUR_FRAMES] == 0
    assert target[(start + (end - start) // 4 - WINDOW) // HOP] == 0


def made_up() -> Material:
    rng = np.random.default_rng(0)
    word = Clip(rng.normal(size=8000).astype(np.float32), 1000, 7000)
    speech = (rng.normal(size=30_000).astype(np.float32),)
    takes = Takes(((word, word),), (word,))
    return Material((takes, takes), speech, speech, speech, speech, gather_rooms([speech[0][:400]], 2, 0))


def test_scenes_to_listen_to_hold_no_word() -> None:
    scenes = Scenes(made_up(), Hearing("hamming", words=False), 1)
    assert not any(scenes[index][1].any() for index in range(5))


def test_words_are_gathered_with_their_voices_and_apart_from_other_speech(tmp_path: Path) -> None:
    corpus, rooms = write_corpus(tmp_path, ("up", "down")), partial(gather_rooms, count=1, seed=1)
    material = gather([corpus, corpus], ("up",), Cast(tmp_path / "voices", 1, 1), rooms)
    (up,) = material.words
    assert (len(up.recorded), len(up.recorded[0]), up.made) == (8, 2, ())
    said = 2 * (4 + 4)
    assert (len(material.speech), material.near, material.made) == (2 * said, (), ())
    as_recorded, by_others = material.speech[0], material.speech[said]
    assert not np.array_equal(as_recorded[: len(by_others)], by_others[: len(as_recorded)])
    alone = gather([corpus], ("up",), Cast(tmp_path, 0, 1), rooms)
    assert (len(alone.words[0].recorded[0]), len(alone.speech)) == (1, 4 + 4)
    with pytest.raises(CorpusError, match="says 'left'"):
        gather([corpus], ("left",), Cast(tmp_path, 0, 1), rooms)


def test_a_scene_is_the_same_sound_every_time() -> None:
    material = made_up()
    first, second, other = (Scenes(material, Hearing("hamming"), seed)[5] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != other[0]).any()
    assert set(np.unique(first[1])) <= {IGNORED, 0, 1, 2}


def test_the_network_sees_only_its_receptive_field() -> None:
    torch.manual_seed(0)
    network = WakeWord(3, Size()).eval()
    field = network.receptive_field
    frames = torch.randn(1, field + 3, 40)
    whole = network(frames)
    assert whole.shape == (1, 4, 3)
    torch.testing.assert_close(network(frames[:, 2 : 2 + field]), whole[:, 2:3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [Size(), Size(residual=8, gate=5, skip=7, dilations=(3, 1))])
def test_products_of_matrices_give_what_the_convolutions_give(size: Size) -> None:
    torch.manual_seed(0)
    network = WakeWord(4, size)
    network.normalise(torch.randn(500, 40) * 4 + 8)
    frames = torch.randn(3, size.receptive_field + 20, 40) * 4 + 8
    torch.testing.assert_close(network.products(frames), network(frames), atol=1e-5, rtol=1e-4)
    convolutions = (network.front, *network.gates, *network.skips, *network.residuals, network.hidden, network.out)
    assert size.multiplications(4) == 40 + sum(layer.weight.numel() for layer in convolutions)


PLAIN = Sounds(tempo=(1, 1), haste=0, warp=0, gain_db=0, tilt_db=0, masked_mels=0, masked_frames=0)


def test_perturbed_frames_keep_their_targets() -> None:
    made = Recipe(words=("up",), sounds=replace(PLAIN, tempo=(0.8, 1.2), haste=0.25))
    rows = torch.arange(SCENE_FRAMES)
    frames = rows[None, :, None].float().expand(1, -1, 40)
    perturbed, moved = sampler.perturb(frames, rows[None], made, np.random.default_rng(3))
    assert perturbed.shape == (1, made.frames, 40)
    assert (perturbed[0, :, 0] - moved[0]).abs().max() <= 0.51
    pace = perturbed[0, :, 0].diff()
    slowest, fastest = made.sounds.tempo
    assert slowest / 1.25**2 < pace.min() < pace.max() < fastest * 1.25**2
    assert pace.max() > 1.2 * pace.min()


def test_all_of_a_scene_is_heard_now_and_then() -> None:
    made = Recipe(words=("up",), sounds=replace(PLAIN, tempo=(0.8, 1.2)), frames=300)
    rows = torch.arange(SCENE_FRAMES).expand(64, -1)
    frames = rows[:, :, None].float().expand(-1, -1, 40)
    _, heard = sampler.perturb(frames, rows, made, np.random.default_rng(3))
    assert heard[:, 0].min() < 100 and heard[:, -1].max() > SCENE_FRAMES - 100
    assert len(heard[:, 0].unique()) > 50


def test_formants_come_and_go() -> None:
    made = Recipe(words=("up",), sounds=replace(PLAIN, formants=2))
    mels = torch.arange(40.0)
    frames = mels.expand(1, SCENE_FRAMES, 40)
    moved = sampler.perturb(frames, torch.zeros(1, SCENE_FRAMES), made, np.random.default_rng(3))[0][0] - mels
    assert moved.abs().max() <= 2 + 1e-4
    assert moved[:, 20].std() > 0.5
    assert moved.diff(dim=0).abs().max() <= 2 * 2 / (sampler.MOMENT - 1)


def scored(peak_s: float, label: str, *, height: float = 1.0, note: str = "") -> evaluate.Scored:
    """Half an hour, as far as the manifest knows, with a word from 1 s to 2 s; the first posterior is high once."""
    kind = "wakeword" if label else "speech"
    recording = Recording(
        Path(), kind, "dev", "made", label, "s", duration_s=1800, start_s=1, end_s=2, licence="CC0", note=note
    )
    posteriors = np.zeros((1000, 1), np.float32)
    first = round((evaluate.LEAD_S + peak_s) * 100)
    posteriors[first : first + 30, 0] = height
    return evaluate.Scored(recording, posteriors)


STREAMS = [
    scored(1.9, "computer"),  # a hit
    scored(4.0, "computer"),  # too late
    scored(1.9, "alexa"),  # another word: an alarm
    scored(1.9, "", height=0.5),  # an alarm at low thresholds
    scored(1.9, "", note="has_computer=1"),  # says the word somewhere: neither
]


def test_curves_count_hits_near_the_word_and_alarms_elsewhere() -> None:
    (curve,) = evaluate.curves(STREAMS, ["computer"])
    low, high = (int(np.argmin(np.abs(evaluate.THRESHOLDS - t))) for t in (0.3, 0.9))
    assert (curve.positives, curve.hours) == (2, 1.0)
    assert curve.misses[low] == curve.misses[high] == 0.5
    assert (curve.alarms[low], curve.alarms[high]) == (2, 1)
    assert curve.at_alarms(1.0) > low
    with pytest.raises(CorpusError, match="says 'jarvis'"):
        evaluate.curves(STREAMS, ["jarvis"])


def test_the_way_from_onset_to_end_is_measured() -> None:
    assert evaluate.onset_to_end([scored(1.8, "computer"), scored(1.9, "computer")], {"computer": 0.5}) in range(12, 18)


def test_what_is_nearly_a_word_does_not_count_by_the_hour_in_the_recommended_threshold() -> None:
    count = len(evaluate.THRESHOLDS)
    misses, at = np.linspace(0, 0.3, count), np.arange(count)
    in_near, elsewhere = 40 - at, np.maximum(0, 5 - at)  # alarms: 40 near ones at the lowest threshold
    curve = evaluate.Curve("up", 10, 0.5, misses, in_near.clip(0) + elsewhere, 1000, in_near.clip(0))
    assert curve.recommended() == round(float(evaluate.THRESHOLDS[10]), 3)  # the first with 3 % of the near ones
    assert curve.at_alarms(0.5) == 40
    steep = dataclasses.replace(curve, misses=np.linspace(0, 1, count))  # 2.2 % for each threshold
    assert steep.recommended() == round(float(evaluate.THRESHOLDS[7]), 3)  # rather than deaf
    few = evaluate.Curve("up", 10, 0.5, misses, elsewhere, 0, 0 * at)
    assert few.recommended() == round(float(evaluate.THRESHOLDS[5]), 3)
