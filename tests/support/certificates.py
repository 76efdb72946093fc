"""A certificate authority made on the fly."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """`ca_file` is what clients trust."""

    folder: Path
    ca_file: Path
    ca_key: Path

    def issue(self, name: str, *, alt_name: str, days: int = 2) -> tuple[Path, Path]:
        """A (certificate, key); `alt_name` such as IP:127.0.0.1; with -1 days it has expired."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, extension = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alt_name}\n")
        new_key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key)]
        _openssl("req", *new_key, "-subj", f"/CN={name}", "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(certificate)),
            *("-days", str(days)),
            *("-CA", str(self.ca_file), "-CAkey", str(self.ca_key), "-CAcreateserial"),
            *("-extfile", str(extension)),
        )
        return certificate, key


def make_authority(folder: Path, name: str) -> Authority:
    """A self-signed authority, valid for two days."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_file, ca_key = folder / f"{name}-ca.crt", folder / f"{name}-ca.key"
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(ca_key)),
        *("-subj", f"/CN={name}", "-days", "2", "-out", str(ca_file)),
    )
    return Authority(folder, ca_file, ca_key)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60.0)
