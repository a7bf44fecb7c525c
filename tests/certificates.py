"""Certificates for brokers and satellites of the tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        self._folder = folder
        _key(self._key)
        _openssl(
            "req", "-x509", "-new", "-key", self._key, "-subj", f"/CN={name}", "-days", "2", "-out", self.certificate
        )

    def sign(self, name: str, *, begins: str | None = None, ends: str | None = None) -> tuple[Path, Path]:
        """A certificate for a name and its key; its time as YYMMDDHHMMSSZ, or from now on."""
        folder = self._folder / f"{name}-{begins}"
        folder.mkdir()
        key, request, certificate = folder / "key", folder / "request", folder / "certificate"
        _key(key)
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        (folder / "index").touch()
        (folder / "serial").write_text("01")
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca = it\n[it]\ndir = {folder}\nnew_certs_dir = {folder}\ndatabase = {folder}/index\n"
            f"serial = {folder}/serial\nprivate_key = {self._key}\ncertificate = {self.certificate}\n"
            "default_md = sha256\npolicy = any\nx509_extensions = names\n[any]\ncommonName = supplied\n"
            f"[names]\nsubjectAltName = DNS:{name}\n"
        )
        time = ["-startdate", begins, "-enddate", ends] if begins and ends else ["-days", "1"]
        _openssl("ca", "-batch", "-notext", "-config", folder / "ca.cnf", *time, "-in", request, "-out", certificate)
        return certificate, key


def _key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
