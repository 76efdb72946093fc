"""The model's folder: naming another file of the same network in its manifest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import tomllib


def model_file(folder: Path) -> Path:
    """The ONNX file that the manifest names; whatever else it says may be out of date."""
    return folder / tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))["file"]


def set_variant(folder: Path, kind: str, file: str) -> None:
    """Write [variants.KIND] into the manifest, in place: the file's name and both sha256."""
    manifest = folder / "manifest.toml"
    text = manifest.read_text(encoding="utf-8")
    digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    source = hashlib.sha256(model_file(folder).read_bytes()).hexdigest()
    table = (
        f'[variants.{kind}]\nfile = "{file}"\nsha256 = "{digest}"\nmodel_sha256 = "{source}"\n\n'
    )
    old = re.compile(rf"^\[variants\.{kind}\]\n(?:[^\[\n].*\n|\n)*", re.MULTILINE)
    if old.search(text):
        text = old.sub(table, text)
    else:
        # Before what is for people; at the end where there is nothing of it.
        place = re.search(r"^\[(?:training|accuracy)\]", text, re.MULTILINE)
        at = place.start() if place else len(text)
        text = text[:at] + ("" if place else "\n") + table + text[at:]
    manifest.write_text(text, encoding="utf-8")
