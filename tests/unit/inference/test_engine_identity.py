"""What a plan belongs to: equal identities fit, and every difference is said in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alprd.inference.identity import BuildSettings, EngineIdentity

HERE = EngineIdentity(
    onnx_sha256="a" * 64,
    tensorrt="8.5.2.2",
    gpu="Orin",
    compute_capability="8.7",
    multiprocessors=8,
    input="images float32 (3, 480, 640)",
    recipe=1,
    settings=BuildSettings(precision="fp16", max_batch=8, workspace_mib=256),
)
OTHERS = {
    "another ONNX file": replace(HERE, onnx_sha256="b" * 64),
    "TensorRT": replace(HERE, tensorrt="10.3.0"),
    "the GPU": replace(HERE, gpu="Xavier"),
    "compute capability": replace(HERE, compute_capability="7.2"),
    "multiprocessors": replace(HERE, multiprocessors=16),
    "input": replace(HERE, input="images float32 (3, 320, 320)"),
    "alprd's recipe": replace(HERE, recipe=2),
    "precision": replace(HERE, settings=replace(HERE.settings, precision="fp32")),
    "max_batch": replace(HERE, settings=replace(HERE.settings, max_batch=4)),
    "workspace_mib": replace(HERE, settings=replace(HERE.settings, workspace_mib=64)),
}


def test_an_identity_survives_json() -> None:
    assert EngineIdentity.from_dict(HERE.to_dict()) == HERE
    assert EngineIdentity.from_dict(HERE.to_dict()).key == HERE.key
    assert HERE.differences(HERE) == []


@pytest.mark.parametrize("what", OTHERS)
def test_everything_that_a_plan_depends_on_changes_the_key_and_is_named(what: str) -> None:
    other = OTHERS[what]
    assert other.key != HERE.key
    [said] = other.differences(HERE)
    assert said.startswith(what)


def test_a_difference_says_what_it_was_built_for_and_what_is_here() -> None:
    assert OTHERS["TensorRT"].differences(HERE) == ["TensorRT 10.3.0, here 8.5.2.2"]


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {**HERE.to_dict(), "settings": None},
        {**HERE.to_dict(), "gpu": 7},
        {**HERE.to_dict(), "settings": {**HERE.to_dict()["settings"], "max_batch": "8"}},
        {**HERE.to_dict(), "settings": {**HERE.to_dict()["settings"], "max_batch": True}},
        {**HERE.to_dict(), "settings": {**HERE.to_dict()["settings"], "precision": "bf16"}},
    ],
)
def test_a_header_that_says_nonsense_is_no_identity(nonsense: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        EngineIdentity.from_dict(nonsense)
