"""The clips that NVDEC is tested with, for GPU machines without ffmpeg.

python tests/support/gpu_clips.py FOLDER       writes them where ffmpeg is
ALPRD_TEST_CLIPS=FOLDER pytest -m gpu ...      reads them, and real ones that lie there too
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.clips import write_clip

X264 = ("-c:v", "libx264", "-preset", "fast", "-g", "12")
X265 = ("-c:v", "libx265", "-preset", "fast", "-x265-params")
FULL_RANGE = ("-color_range", "pc")
RECIPES: dict[str, tuple[str, ...]] = {
    "in-order.mp4": (*X264, "-bf", "0"),
    "reordered.mp4": (*X264, "-bf", "3"),
    "reordered.ts": (*X264, "-bf", "3"),
    "full-range.mp4": (*X264, "-bf", "0", *FULL_RANGE),
    "hevc.mp4": (*X265, "log-level=none"),
    "hevc.ts": (*X265, "log-level=none:keyint=12"),
    "hevc-full-range.ts": (*X265, "log-level=none:keyint=12", *FULL_RANGE),
    "mpeg4.avi": ("-c:v", "mpeg4"),
}
"""Rendered ones, 30 numbered frames each; their numbers count from 0 again in every repetition."""

RESIZED = "resized.ts"
"""30 frames of 320 x 240, then 30 of 640 x 480."""

DATA = Path(
    os.environ.get("ALPRD_TEST_PHOTOGRAPHS", Path(__file__).parents[2].parent / "shared" / "data")
)
CLIPS = Path(os.environ.get("ALPRD_TEST_CLIPS", DATA / "video"))
REAL = ("uk-approach.mp4", "toll-gate.mp4", "overhead.mp4")


def real_clips() -> list[Path]:
    """Those that are here."""
    return [CLIPS / name for name in REAL if (CLIPS / name).is_file()]


def rendered_clip(name: str, folder: Path) -> Path:
    """One of the rendered clips; skips the test where there is neither the clip nor ffmpeg."""
    if (CLIPS / name).is_file():
        return CLIPS / name
    if shutil.which("ffmpeg") is None:
        pytest.skip(f"neither {name} in ALPRD_TEST_CLIPS nor ffmpeg to render it")
    return render(name, folder)


def render(name: str, folder: Path) -> Path:
    """Write a clip."""
    if name != RESIZED:
        return write_clip(folder / name, frames=30, codec=RECIPES[name])
    parts = [
        write_clip(
            folder / f"part-{size[0]}.ts", frames=30, size_px=size, codec=RECIPES["reordered.ts"]
        )
        for size in ((320, 240), (640, 480))
    ]
    # A transport stream may be cut and joined anywhere, which is what this one is for.
    (folder / RESIZED).write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return folder / RESIZED


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*RECIPES, RESIZED):
        render(name, folder)
    for path in real_clips():
        if path.parent != folder:
            shutil.copy(path, folder / path.name)


if __name__ == "__main__":
    main()
