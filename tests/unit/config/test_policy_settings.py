"""Lists, privacy and commands in the configuration: mistakes are named, secrets are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from alprd.config import ConfigError, Settings, load_settings, public_dump

CAMERA = '\n[[cameras]]\nid = "gate"\nsource = "clip.mp4"\n'
KEY = "0123456789abcdef0123456789abcdef"


def load(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "alprd.toml"
    path.write_text(text + CAMERA)
    return load_settings(path, environ=environ)


def problems(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(folder, text, **environ)
    return str(refused.value)


def test_the_key_comes_from_its_file_or_a_credential_and_never_shows(tmp_path: Path) -> None:
    (tmp_path / "k").write_text(KEY + "\n")
    for text, environ in (
        (f'[privacy]\nplates = "hmac"\nkey_file = "{tmp_path / "k"}"\n', {}),
        ('[privacy]\nplates = "hmac"\n', {"CREDENTIALS_DIRECTORY": str(tmp_path)}),
        (f'[privacy]\nplates = "hmac"\nkey = "{KEY}"\n', {}),
    ):
        (tmp_path / "privacy.key").write_text(KEY)
        settings = load(tmp_path, text, **environ)
        assert settings.privacy.key is not None
        assert settings.privacy.key.get_secret_value() == KEY
        assert KEY not in repr(settings) + str(public_dump(settings))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[privacy]\nplates = "hmac"\n', "openssl rand -hex 32"),
        ('[privacy]\nplates = "hmac"\nkey = "too short, hush"\n', "fewer than 32"),
        ("[privacy]\nkey = 1234567890\n", "privacy.key: the value is not text"),
        ('[privacy]\nplates = "hmac"\nkey_file = "/nonexistent/k"\n', "does not exist"),
        ("[privacy]\ndrop_unlisted = true\n", "add a [[lists]] table"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_without_quoting_it(
    tmp_path: Path, text: str, said: str
) -> None:
    message = problems(tmp_path, text)
    assert said in message
    assert len(message.splitlines()) == 1
    assert "hush" not in message
    assert "1234567890" not in message


def test_a_list_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "deny.txt"
    file.write_text("AB12CDE\nAB 12?\n")
    table = f'[[lists]]\nname = "deny"\nfile = "{file}"\n'
    assert f"lists[deny].file: {file}: line 2" in problems(tmp_path, table)
    file.unlink()
    assert "cannot be read" in problems(tmp_path, table)
    file.write_text("AB12CDE\n")
    assert [each.match for each in load(tmp_path, table).lists] == ["exact"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[lists]]\nname = "Deny!"\nfile = "x"\n', "lists[Deny!].name: 'Deny!' cannot be"),
        ('[[lists]]\nname = "deny"\n', "lists[deny].file: is missing"),
        ('[[lists]]\nname = "deny"\nfile = "x"\nmtch = "fuzzy"\n', "lists[deny].match"),
        ('[lists]\nname = "deny"\n', "[[lists]], with double brackets"),
        ('[commands]\nallow = ["reboot"]\n', '"reboot" is not possible'),
        ("[commands]\nper_minute = 0\n", "at least 1 and at most 60000"),
        ('[homeassistant]\nprefix = "a/#"\n', "must not contain"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in problems(tmp_path, text)


def test_two_lists_need_two_names(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("AB12CDE\n")
    table = f'[[lists]]\nname = "deny"\nfile = "{tmp_path / "l"}"\n'
    assert "same name" in problems(tmp_path, table + table)


def test_lists_can_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("AB12CDE\n")
    settings = load(tmp_path, "", ALPRD_LISTS=f'[{{"name": "vip", "file": "{tmp_path / "l"}"}}]')
    assert [each.name for each in settings.lists] == ["vip"]
