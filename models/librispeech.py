"""Hours of what people say, for whoever has no recordings: the part "dev-clean" of LibriSpeech, read by 40 people.

V. Panayotov, G. Chen, D. Povey, S. Khudanpur: LibriSpeech, an ASR corpus based on public domain audio books, ICASSP
2015, https://www.openslr.org/12, under CC BY 4.0. What is said in a recording is noted in the manifest, so that a
recording in which a phrase is said is neither learnt from as other speech nor counted as a false alarm.
"""

from __future__ import annotations

import csv
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import soundfile
from tqdm import tqdm

from models.corpus import MANIFEST, CorpusError
from models.download import Download, DownloadError

ARCHIVE = Download(
    "https://www.openslr.org/resources/12/dev-clean.tar.gz",
    "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    337_926_286,  # it packs hardly anything: unpacked it is as large again
)
MEMBER = re.compile(
    r"LibriSpeech/dev-clean/(\d{1,6})/\d{1,8}/(?:\d{1,6}-\d{1,8}-\d{1,6}\.flac|\d{1,6}-\d{1,8}\.trans\.txt)"
)
MOST_BYTES = 4_000_000  # of one file in it
DEV_EVERY = 5  # people, of whom one is kept to judge by
NAMES = ("file", "kind", "split", "source", "label", "speaker", "duration_s", "speech_start_s", "speech_end_s")
NAMES += ("licence", "note")


def fetch(folder: Path, archive: Path | None = None) -> str:
    """Make `folder` a corpus of it, from an `archive` that is there already or from the net; says what it holds.

    `CorpusError` says what to do where it cannot be had, is damaged or does not fit on the disk.
    """
    if (folder / MANIFEST).exists():
        return f"{folder} is a corpus already"
    folder.mkdir(parents=True, exist_ok=True)
    free, more = shutil.disk_usage(folder).free, ARCHIVE.size if archive else 2 * ARCHIVE.size
    if free < more:
        raise CorpusError(f"{folder} has {free / 1e6:.0f} MB left, and this takes {more / 1e6:.0f} MB")
    fetched = archive or folder / "dev-clean.tar.gz"
    try:
        if not archive:
            ARCHIVE.fetch(fetched)
        if not ARCHIVE.is_at(fetched):
            raise CorpusError(
                f"{fetched} is damaged, or is not LibriSpeech's dev-clean.tar.gz; remove it and fetch it again"
            )
        rows = _unpack(fetched, folder)
    except DownloadError as error:
        raise CorpusError(f"{error}; fetch it by other means, then --archive FILE") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise CorpusError(f"cannot make a corpus of {fetched}: {error}") from error
    draft = folder / f"{MANIFEST}.part"
    with draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, NAMES, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    draft.replace(folder / MANIFEST)
    if not archive:
        fetched.unlink()
    hours = sum(float(row["duration_s"]) for row in rows) / 3600
    people = len({row["speaker"] for row in rows})
    return f"{folder}: {len(rows)} recordings of {people} people, {hours:.1f} hours (LibriSpeech dev-clean, CC BY 4.0)"


def _unpack(archive: Path, folder: Path) -> list[dict[str, str]]:
    """Leave the recordings in `folder` and return their rows, in the order of their names."""
    texts: dict[str, str] = {}
    files: dict[str, Path] = {}
    for speaker, name, data in _members(archive):
        if name.endswith(".txt"):
            lines = (line.partition(" ") for line in data.decode().splitlines())
            texts |= {take: text.lower() for take, _, text in lines}
        else:
            files[Path(name).stem] = path = folder / speaker / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    people = sorted({path.parent.name for path in files.values()}, key=int)
    kept = set(people[DEV_EVERY - 1 :: DEV_EVERY])
    return [_row(files[take], texts.get(take, ""), files[take].parent.name in kept) for take in sorted(files)]


def _members(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """Speaker, name and content of each recording and each list of texts; nothing else is looked at."""
    with tarfile.open(archive, "r:gz") as packed, tqdm(unit="file", desc="unpack", leave=None) as bar:
        for member in packed:
            if member.isfile() and member.size <= MOST_BYTES and (found := MEMBER.fullmatch(member.name)):
                content = packed.extractfile(member)
                if content is not None:
                    yield found[1], Path(member.name).name, content.read()
                    bar.update()


def _row(path: Path, text: str, kept: bool) -> dict[str, str]:
    return {
        "file": f"{path.parent.name}/{path.name}",
        "kind": "speech",
        "split": "dev" if kept else "train",
        "source": "librispeech_dev-clean",
        "label": "read",
        "speaker": f"ls{path.parent.name}",
        "duration_s": f"{soundfile.info(path).duration:.3f}",
        "speech_start_s": "",
        "speech_end_s": "",
        "licence": "CC-BY-4.0",
        "note": f"text={text}",
    }
