"""Whether the models that run are still those on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alprd.config.models import InferenceSettings
from alprd.inference.manifest import (
    MANIFEST,
    load_detector_manifest,
    load_onnx,
    load_reader_manifest,
)
from alprd.ports import EngineError


class ModelDrift:
    """Used by one thread; reads the files only when they have changed, or do not fit.

    Args:
        settings: names the models.
        running: model name -> "sha256:..." of what was loaded.
    """

    def __init__(self, settings: InferenceSettings, running: Mapping[str, str]) -> None:
        self._settings = settings
        self._running = set(running.values())
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._paths: tuple[Path, ...] = ()
        self._mismatch: str | None = None

    def mismatch(self) -> str | None:
        """What does not fit, with the remedy; None while all is well."""
        stamps = self._stamps()
        # Which files a damaged manifest names is not known: while something is wrong, look again.
        if self._mismatch is not None or stamps is None or stamps != self._seen:
            self._mismatch = self._compare()
            self._seen = self._stamps()
        return self._mismatch

    def _stamps(self) -> tuple[tuple[str, int, int], ...] | None:
        found = []
        for path in self._paths:
            try:
                status = path.stat()
            except OSError:
                return None
            found.append((str(path), status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _compare(self) -> str | None:
        settings = self._settings
        paths: list[Path] = []
        problem: str | None = None
        for load, name in (
            (load_detector_manifest, settings.detector),
            (load_reader_manifest, settings.reader),
        ):
            try:
                manifest, folder = load(name, settings.models_dir)
                paths += [folder / MANIFEST, folder / manifest.file]
                load_onnx(manifest, folder)  # as the manifest says, or an error
            except EngineError as error:
                problem = problem or f"{error}; until the next start the model before runs on"
                continue
            if f"sha256:{manifest.sha256}" not in self._running:
                problem = problem or (
                    f"{folder / manifest.file} is no longer the model that runs; to use the new "
                    "one: systemctl restart alprd"
                )
        self._paths = tuple(paths)
        return problem
