"""The folder of plans hands out what fits, whole, and never anything else."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from alprd.inference.identity import BuildSettings, EngineIdentity
from alprd.inference.plans import PlanStore
from alprd.ports import EngineError, EngineUnavailable

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
PLAN = bytes(range(256)) * 40
NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


def saved(folder: Path, plan: bytes = PLAN, identity: EngineIdentity = HERE) -> PlanStore:
    store = PlanStore(folder)
    store.save("eye", identity, plan, figures={"ms": {"1": 0.5}}, built_at=NOW)
    return store


def refusal(store: PlanStore, identity: EngineIdentity = HERE) -> str:
    with pytest.raises(EngineError) as refused:
        store.load("eye", identity)
    return str(refused.value)


def test_what_was_saved_is_loaded_and_listed(tmp_path: Path) -> None:
    store = saved(tmp_path / "made" / "on" / "demand")
    assert store.load("eye", HERE) == PLAN
    assert store.fits("eye", HERE) is None
    [entry] = store.entries()
    assert (entry.name, entry.precision, entry.identity) == ("eye", "fp16", HERE)
    assert entry.built_at == "2026-11-21T12:00:00+00:00"
    assert entry.figures == {"ms": {"1": 0.5}}
    assert entry.problem is None
    assert entry.path.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in store.folder.iterdir()] == ["eye.fp16.plan"]


def test_each_precision_has_a_plan_of_its_own(tmp_path: Path) -> None:
    full = replace(HERE, settings=replace(HERE.settings, precision="fp32"))
    store = saved(tmp_path)
    saved(tmp_path, b"full", full)
    assert store.load("eye", HERE) == PLAN
    assert store.load("eye", full) == b"full"


def test_a_plan_of_another_device_is_refused_with_the_difference_and_the_remedy(
    tmp_path: Path,
) -> None:
    store = saved(tmp_path)
    elsewhere = replace(HERE, tensorrt="10.3.0", gpu="Thor")
    message = refusal(store, elsewhere)
    assert str(tmp_path / "eye.fp16.plan") in message
    assert "TensorRT 8.5.2.2, here 10.3.0; the GPU Orin, here Thor" in message
    assert message.endswith("alprd engines build eye")


def test_a_plan_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    message = refusal(PlanStore(tmp_path / "nowhere"))
    assert "does not exist" in message
    assert message.endswith("alprd engines build eye")
    assert PlanStore(tmp_path / "nowhere").entries() == []
    for ask in (
        lambda: PlanStore(tmp_path / "nowhere").need("eye", "fp16"),
        lambda: saved(tmp_path).need("eye", "int8"),
    ):
        with pytest.raises(EngineUnavailable, match=r"does not exist.*alprd engines build eye"):
            ask()
    PlanStore(tmp_path).need("eye", "fp16")


def cut(count: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:count]


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda content: (
        content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        if at >= 0
        else content[:at] + bytes([content[at] ^ 1]) + content[len(content) + at + 1 :]
    )


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut(0), "no engine plan"),
        (cut(5), "no engine plan"),
        (cut(40), "header is cut off"),
        (cut(-1), "10239 bytes of 10240"),
        (cut(-len(PLAN)), "0 bytes of 10240"),
        (flipped(-5), "not what was written"),
        (flipped(0), "no engine plan"),
        (lambda content: content + b"!", "10241 bytes of 10240"),
        (lambda content: content.replace(b'"max_batch": 8', b'"max_batch": 9'), "nonsense"),
        (lambda content: content.replace(b"{", b"?", 1), "unreadable"),
        (lambda _content: b"ALPRDPLAN 1 []\n", "unreadable"),
        (lambda _content: b"ALPRDPLAN 1 {}\n", "nonsense"),
        (lambda _content: b"ptrt" + PLAN, "no engine plan"),
        (lambda _content: b"ALPRDPLAN 1 " + b"x" * 100_000, "cut off"),
    ],
)
def test_a_damaged_plan_is_never_handed_out(
    tmp_path: Path, harm: Callable[[bytes], bytes], words: str
) -> None:
    store = saved(tmp_path)
    path = tmp_path / "eye.fp16.plan"
    path.write_bytes(harm(path.read_bytes()))
    message = refusal(store)
    assert words in message
    assert message.endswith("alprd engines build eye")
    if words != "not what was written":  # only who reads all of it can tell
        with pytest.raises(EngineUnavailable, match=words):
            store.look("eye", HERE)
    [entry] = store.entries()
    assert entry.identity is None
    assert words in (entry.problem or "")


def test_flipped_bits_all_over_header_and_plan_are_noticed(tmp_path: Path) -> None:
    store = saved(tmp_path, b"plan")
    path = tmp_path / "eye.fp16.plan"
    whole = path.read_bytes()
    start = whole.index(b"{")
    figures = whole.index(b'"figures"')
    harmless = set(range(figures, whole.index(b"}", figures)))
    harmless |= set(range(whole.index(b'"built_at"'), whole.index(b'"bytes"')))
    harmless |= set(range(whole.index(b'"model"'), whole.index(b'"sha256"')))
    for at in sorted(set(range(start, len(whole))) - harmless)[::5]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        assert store.fits("eye", HERE) is not None, whole[at - 10 : at + 10]


def test_a_plan_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineUnavailable, match="no room"):
        saved(tmp_path, b"new")
    monkeypatch.undo()
    assert store.load("eye", HERE) == PLAN
    assert [path.name for path in tmp_path.iterdir()] == ["eye.fp16.plan"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(EngineError, match=r"cannot be written .*--dir") as refused:
        PlanStore(tmp_path).building().__enter__()
    assert not isinstance(refused.value, EngineUnavailable)


def test_a_folder_that_nobody_may_look_into_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(EngineError, match=r"cannot be read .*let this user read it"):
        PlanStore(tmp_path).entries()


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("")
    with pytest.raises(EngineError, match="cannot be written"):
        saved(tmp_path / "engines")


def test_two_builds_do_not_work_in_one_folder(tmp_path: Path) -> None:
    store = PlanStore(tmp_path)
    with (
        store.building(),
        pytest.raises(EngineUnavailable, match="another alprd builds engines"),
        PlanStore(tmp_path).building(),
    ):
        pass
    with PlanStore(tmp_path).building():
        pass


def test_what_a_killed_build_left_behind_is_cleared_away_and_plans_stay(tmp_path: Path) -> None:
    store = saved(tmp_path)
    (tmp_path / "tmpabc.unfinished").write_bytes(b"half a plan")
    with store.building():
        assert not (tmp_path / "tmpabc.unfinished").exists()
        assert store.load("eye", HERE) == PLAN


def test_other_files_in_the_folder_are_no_plans(tmp_path: Path) -> None:
    store = saved(tmp_path)
    (tmp_path / "notes.plan").write_text("")
    (tmp_path / "eye.bf16.plan").write_text("")
    (tmp_path / "timing-8.5.cache").write_text("")
    assert [entry.name for entry in store.entries()] == ["eye"]


def test_the_header_is_one_line_of_json_that_people_can_read(tmp_path: Path) -> None:
    saved(tmp_path)
    with (tmp_path / "eye.fp16.plan").open("rb") as file:
        line = file.readline()
    header = json.loads(line.removeprefix(b"ALPRDPLAN 1 "))
    assert header["model"] == "eye"
    assert header["identity"]["gpu"] == "Orin"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_builds_belongs_to_whom_the_place_belongs_to(tmp_path: Path) -> None:
    """The service, which is not root, builds there the next time."""
    os.chown(tmp_path, 1234, 1234)
    store = saved(tmp_path / "engines")
    with store.building():
        pass
    [plan] = store.folder.glob("*.plan")
    assert {path.stat().st_uid for path in (store.folder, plan)} == {1234}
