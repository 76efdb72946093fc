"""The ratchet on the models' figures: it turns one way."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.accuracy_{name}")


def figure(
    value: float, *, key: str = "recall", better: str = "higher", slack: float = 0.02
) -> Any:
    return module("figures").Figure(
        key=key, what=key, of="all", value=value, cases=100, slack=0.02, better=better
    )


def accepted(*figures: Any) -> dict[str, Any]:
    taken: dict[str, Any] = module("ratchet").updated(list(figures), {}, allow_lower=False)
    return taken


def test_a_figure_below_its_limit_is_named_with_both_values() -> None:
    said = module("ratchet").fallen([figure(0.90)], accepted(figure(0.95)))
    assert said == ["recall: 0.90000 is below the limit 0.93 (accepted: 0.95)"]


def test_what_should_be_small_is_held_from_above() -> None:
    limits = accepted(figure(0.10, better="lower"))
    assert module("ratchet").fallen([figure(0.13, better="lower")], limits)
    assert not module("ratchet").fallen([figure(0.11, better="lower")], limits)


def test_a_borderline_case_on_another_cpu_does_not_fail() -> None:
    assert not module("ratchet").fallen([figure(0.935)], accepted(figure(0.95)))


def test_a_figure_that_is_no_number_fails() -> None:
    assert module("ratchet").fallen([figure(float("nan"))], accepted(figure(0.95)))


def test_a_figure_that_is_measured_no_more_is_named() -> None:
    said = module("ratchet").fallen([], accepted(figure(0.95)))
    assert said == ["recall: accepted at 0.95, and measured no more"]


def test_an_update_raises_what_became_better_and_keeps_what_became_worse() -> None:
    before = accepted(figure(0.95), figure(0.80, key="exact"))
    after = module("ratchet").updated(
        [figure(0.97), figure(0.79, key="exact")], before, allow_lower=False
    )
    assert after["recall"] == {"accepted": 0.97, "limit": 0.95}
    assert after["exact"] == before["exact"]


def test_only_with_leave_an_update_lowers_and_forgets() -> None:
    before = accepted(figure(0.95), figure(0.80, key="gone"))
    after = module("ratchet").updated([figure(0.60)], before, allow_lower=True)
    assert after == {"recall": {"accepted": 0.6, "limit": 0.58}}


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    ratchet = module("ratchet")
    before = accepted(figure(0.95), figure(0.1, key="false", better="lower"))
    ratchet.write_ratchet(tmp_path / "accuracy.json", before, {"plate-reader": "0c00"})
    assert ratchet.read_ratchet(tmp_path / "accuracy.json") == before


def test_the_table_says_of_every_promise_whether_it_is_kept() -> None:
    figures = module("figures")
    kept = figures.Figure(
        key="a", what="recall", of="ro", value=0.99, cases=7, slack=0.0, wanted=0.98
    )
    broken = figures.Figure(
        key="b", what="false", of="all", value=0.3, cases=7, slack=0.0, wanted=0.02,
        better="lower", share=False, note="42 of them",
    )  # fmt: skip
    header, first, second = figures.table([kept, broken]).splitlines()
    assert header.split() == ["what", "set", "measured", "cases", "floor", "met"]
    assert first.split() == ["recall", "ro", "99.0", "%", "7", "98.0", "%", "yes"]
    assert second.split() == ["false", "all", "0.3000", "7", "0.0200", "NO", "42", "of", "them"]


def test_the_committed_ratchet_can_be_read_and_is_not_tighter_than_what_was_accepted() -> None:
    ratchet = module("ratchet")
    path = Path(ratchet.__file__).resolve().parents[1] / "accuracy.json"
    figures = ratchet.read_ratchet(path)
    assert figures
    for key, entry in figures.items():
        small = "/false/" in key or "error" in key or "wrong" in key or "vetoed false" in key
        assert (entry["limit"] >= entry["accepted"]) == small, key


@pytest.mark.parametrize(
    "wrong",
    [
        ["--allow-lower"],
        ["--few", "--update"],
        ["--update", "--no-small"],
        ["--update", "--models", "elsewhere"],
    ],
)
def test_options_that_make_no_sense_together_are_refused(wrong: list[str]) -> None:
    pytest.importorskip("cv2", reason="OpenCV is needed to look at pictures")
    with pytest.raises(SystemExit):
        importlib.import_module("engines.training.accuracy").parse(wrong)


def test_pieces_of_real_photographs_are_never_written_into_the_repository() -> None:
    pytest.importorskip("cv2", reason="OpenCV is needed to look at pictures")
    accuracy = importlib.import_module("engines.training.accuracy")
    with pytest.raises(SystemExit):
        accuracy.parse(["--details", str(accuracy.ENGINES / "details")])


def test_the_figures_replace_what_stands_between_the_marks_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is needed to look at pictures")
    report = module("report")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nstale\n{report.END}\nafter\n")
    for _ in range(2):
        report.rewrite(readme, report.markdown([figure(0.95)], [], "one threshold"))
    text = readme.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n\nOne threshold.")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "stale" not in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="put them back"):
        report.rewrite(readme, "figures")
