"""A file that lies on the net and never changes, fetched whole, and known by its hash."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

BLOCK = 1 << 20
PATIENCE_S = 60


class DownloadError(OSError):
    """A file cannot be fetched."""


@dataclass(frozen=True)
class Download:
    """Where the file lies, and what is known of its content."""

    url: str
    sha256: str
    size: int  # bytes

    @property
    def name(self) -> str:
        """Of the file."""
        return self.url.rpartition("/")[2]

    def fetch(self, path: Path) -> None:
        """Leave it at `path`, unless something lies there already."""
        if path.exists():
            return
        draft = path.with_name(f"{path.name}.part")
        try:
            with (
                urllib.request.urlopen(self.url, timeout=PATIENCE_S) as answer,
                draft.open("wb") as file,
                tqdm(total=self.size, unit="B", unit_scale=True, desc=path.name, leave=None) as bar,
            ):
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            raise DownloadError(f"cannot fetch {self.url}: {error}") from error
        draft.replace(path)

    def is_at(self, path: Path) -> bool:
        """Whether the file there is this one, undamaged."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
