"""The people whose voices are enrolled, each in a file of their own that nobody else may read.

A file holds embeddings, numbers from which no speech can be made; sound is kept beside it only where the owner wants
it. What is read is checked: the folder may have been written by another version, or by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from daemon.config import Person as Name
from daemon.frames import wav
from daemon.naming import Enrolled, mean_voice
from daemon.speaker import MAX_EMBEDDING, SpeakerModel

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

FORMAT = 1
MAX_TAKES = 20
MAX_BYTES = 40_000  # of a file
MAX_PEOPLE = 50
DIGITS = 4  # to which the numbers of an embedding are kept; they are below 1
ENDING = ".voice.json"
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600

Number = Annotated[float, Meta(ge=-1.001, le=1.001)]
Embedding = Annotated[list[Number], Meta(min_length=1, max_length=MAX_EMBEDDING)]


class PeopleError(Exception):
    """A person cannot be enrolled, kept or used; the text is one line."""


class Template(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a person."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    name: Name
    model: str  # whose embeddings these are
    word: str  # that was said in the takes
    takes: Annotated[list[Embedding], Meta(min_length=1, max_length=MAX_TAKES)]
    free: Annotated[list[Embedding], Meta(max_length=MAX_TAKES)] = []  # of a sentence, where one was said


@dataclass(frozen=True)
class Person:
    """Somebody enrolled."""

    name: str
    word: str
    takes: Floats  # (takes, embedding) of the wake word
    free: Floats  # (pieces, embedding) of free speech, none or more

    @property
    def enrolled(self) -> Enrolled:
        """As they are compared with."""
        return Enrolled(self.name, mean_voice(np.concatenate([self.takes, self.free])))


class People:
    """The folder of those who are enrolled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def any(self) -> bool:
        """Whether anybody is enrolled; the log says so where the folder cannot be read."""
        return bool(self._paths())

    def read(self, model: SpeakerModel) -> list[Person]:
        """Everybody whom a model can know, by name; of the others, the log says why they are left out."""
        found = []
        for path in self._paths()[:MAX_PEOPLE]:
            try:
                found.append(_read(path, model))
            except PeopleError as error:
                log.warning("%s", error)
        return sorted(found, key=lambda person: person.name)

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.name.endswith(ENDING))
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("nobody who is enrolled can be named: %s", _forbidden(self.folder, "read", error))
            return []

    def prepare(self) -> None:
        """Make the folder, and see that it can be written to; `PeopleError` if not, before anybody has to speak."""
        try:
            self._make()
            handle, draft = tempfile.mkstemp(dir=self.folder, prefix=".")
            os.close(handle)
            os.unlink(draft)
        except OSError as error:
            raise PeopleError(_forbidden(self.folder, "written", error)) from error

    def _make(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(PRIVATE_FOLDER, parents=True)
            _hand_over(self.folder)

    def write(self, person: Person, model: SpeakerModel) -> Path:
        """Keep a person, in place of what was kept under that name; the file."""
        takes, free = (np.round(some.astype(float), DIGITS).tolist() for some in (person.takes, person.free))
        try:
            held = Template(FORMAT, person.name, model.space, person.word, takes, free)
            content = msgspec.json.encode(msgspec.convert(msgspec.to_builtins(held), Template))
        except msgspec.ValidationError as error:
            raise PeopleError(f"{person.name!r} cannot be enrolled: {error}") from error
        path = self.path(person.name)
        try:
            self._make()
            _write(path, content)
        except OSError as error:
            raise PeopleError(_forbidden(path, "written", error)) from error
        return path

    def path(self, name: str) -> Path:
        """Where a person is kept; no name can lead out of the folder."""
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}{ENDING}"

    def sounds(self, name: str) -> Path:
        """The folder of a person's takes, where the owner wants them kept."""
        return self.path(name).with_suffix("").with_suffix(".takes")

    def keep_sounds(self, name: str, sounds: Sequence[NDArray[np.int16]]) -> None:
        """Keep what a person said, (n,) samples each, beside what is made of it, in place of what they said before."""
        folder = self.sounds(name)
        try:
            if folder.exists():
                shutil.rmtree(folder)
            if sounds:
                folder.mkdir(PRIVATE_FOLDER)
                _hand_over(folder)
            for number, samples in enumerate(sounds, 1):
                _write(folder / f"{number}.wav", wav(samples))
        except OSError as error:
            raise PeopleError(_forbidden(folder, "written", error)) from error

    def forget(self, name: str) -> list[Path]:
        """Remove every trace of a person: what was removed, nothing where nobody of that name is kept."""
        removed = []
        try:
            for path in (self.path(name), self.sounds(name)):
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.exists():
                    path.unlink()
                else:
                    continue
                removed.append(path)
        except OSError as error:
            raise PeopleError(_forbidden(path, "removed", error)) from error
        return removed


def _read(path: Path, model: SpeakerModel) -> Person:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PeopleError(f"{path} is larger than {MAX_BYTES} bytes; it is no enrolled voice")
        held = msgspec.json.decode(path.read_bytes(), type=Template)
    except OSError as error:
        raise PeopleError(_forbidden(path, "read", error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeopleError(f"{path} is no enrolled voice: {error}; remove it, and enrol again") from error
    if held.model != model.space:
        raise PeopleError(f"{held.name!r} was enrolled with another speaker model; run: wakepulse enroll {held.name}")
    if {len(one) for one in (*held.takes, *held.free)} != {model.embedding}:
        raise PeopleError(f"{path} has embeddings of another size; remove it, and enrol again")
    size = model.embedding
    takes, free = (np.array(some, np.float32).reshape(-1, size) for some in (held.takes, held.free))
    return Person(held.name, held.word, takes, free)


def _write(path: Path, content: bytes) -> None:
    """The whole file or nothing; from its first byte on, nobody else may read it."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")  # mkstemp makes it private
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _hand_over(Path(draft))
        os.replace(draft, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _hand_over(path: Path) -> None:
    """What root makes belongs to whoever the folder around it belongs to: the satellite has to read it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _forbidden(path: Path, what: str, error: OSError) -> str:
    return f"{path} cannot be {what}: {error.strerror}; run this with sudo, or see speakers.folder"


def names(people: Sequence[Person]) -> str:
    """All names in one line."""
    return ", ".join(person.name for person in people) or "nobody"
