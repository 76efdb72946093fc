"""What the options of `alprd bench` make of [inference]."""

from __future__ import annotations

import pytest

from alprd.cli import build_parser
from alprd.commands.bench import inference_settings


@pytest.mark.parametrize(("options", "wanted"), [([], True), (["--no-cuda-graphs"], False)])
def test_engines_are_launched_layer_by_layer_when_that_is_asked_for(
    options: list[str], *, wanted: bool
) -> None:
    arguments = build_parser().parse_args(["bench", *options])
    assert inference_settings(arguments).cuda_graphs is wanted
