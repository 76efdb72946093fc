"""A manifest to complete: what a model file shows is filled in, the rest is named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from alprd.inference.inspecting import Inspection, input_type

_NORMALISATIONS = {
    1: ("[0.0]", "[1.0]", "[0.5]", "[0.5]"),
    3: ("[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]", "[0.5, 0.5, 0.5]", "[0.5, 0.5, 0.5]"),
}


def draft(found: Inspection, path: Path) -> list[str]:
    """Lines of a manifest.toml; what cannot be known is a comment that starts with `#?`.

    Args:
        found: with a guess and a layout.
        path: of the model file.
    """
    if found.guess is None or found.layout is None:
        return []
    guess, (layout, channels, width, height) = found.guess, found.layout
    name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_") or "model"
    lines = [
        'schema = "alprd.model/1"',
        f'name = "{name[:63]}"',
        f'task = "{guess.task}"',
        'version = "1"',
        f"file = {json.dumps(path.name)}",
        f'sha256 = "{found.sha256}"',
        '#? licence = "..."   # of the weights',
        "",
        "[input]",
        f"name = {json.dumps(found.inputs[0].name)}",
        f'layout = "{layout}"',
    ]
    kind = input_type(found.inputs[0])
    if kind != "float32":
        lines.append(f'type = "{kind}"')
    if channels == 1:
        lines.append('colour = "GRAY"')
    else:
        lines.append('#? colour = "RGB"   # or "BGR": the order that it was trained with')
    for key, size in (("width", width), ("height", height)):
        lines.append(f"{key} = {size}" if size else f"#? {key} = 384   # the file leaves it open")
    if guess.task == "detect":
        lines.append(
            '#? resize = "letterbox"   # YOLO: aspect kept, the rest padded; "stretch" for SSD'
        )
    lines += _normalisation(kind, channels)
    lines += ["", "[decoder]"]
    keys = sorted(guess.decoder, key=lambda key: key != "type")
    lines += [f"{key} = {_toml(guess.decoder[key])}" for key in keys]
    lines += [f"#? {example}   # {about}" for about, example in guess.unknown.values()]
    lines += ["", "[selftest]"]
    if guess.task == "detect":
        lines += [
            '#? image = "selftest.png"   # a photograph with one plate',
            "#? quad = [[0, 0], [0, 0], [0, 0], [0, 0]]   # its corners in pixels, clockwise from "
            "the plate's top left",
        ]
    else:
        lines += [
            '#? image = "selftest.png"   # a plate alone, cut out along its corners',
            '#? plate = "AB12CDE"   # its text',
        ]
    return lines


def _normalisation(kind: str, channels: int) -> list[str]:
    plain, ones, half, half_std = _NORMALISATIONS[channels]
    if kind == "uint8":
        return ["scale = 1.0", f"mean = {plain}", f"std = {ones}"]
    return [
        "# (pixel * scale - mean) / std, as it was trained; wrong ones raise no error anywhere, so "
        "the self-test is there",
        "#? scale = 0.00392156862745098   # 1/255; 1.0 where the mean counts in 0 to 255",
        f"#? mean = {plain}   # {half} and std {half_std} for -1 to 1",
        f"#? std = {ones}",
    ]


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
