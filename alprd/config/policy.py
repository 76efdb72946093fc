"""[privacy], [[lists]], [commands] and [homeassistant]: what is told to whom, and who may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from alprd.config.checks import check_list_name, check_prefix
from alprd.config.section import Section
from alprd.core.privacy import MIN_KEY_CHARS

CommandName = Literal["reload", "selftest", "flush", "snapshot", "enable", "disable"]
ALL_COMMANDS: tuple[CommandName, ...] = (
    "reload",
    "selftest",
    "flush",
    "snapshot",
    "enable",
    "disable",
)


class PrivacySettings(Section):
    """[privacy]: what leaves the device."""

    plates: Literal["plain", "hmac"] = Field(
        default="plain",
        description="plain: plates are published as read; hmac: as keyed pseudonyms",
    )
    key: SecretStr | None = Field(
        default=None,
        description="key of the pseudonyms, at least 32 characters; a file or a credential hides "
        "it better",
    )
    key_file: Path | None = Field(
        default=None, description="file that holds the key, instead of `key`"
    )
    drop_unlisted: bool = Field(
        default=False, description="true: events of plates that are on no list are not published"
    )

    @model_validator(mode="after")
    def _key_where_needed(self) -> PrivacySettings:
        if self.plates == "hmac" and self.key is None:
            raise ValueError(
                'plates = "hmac" needs a key; put one into a file (openssl rand -hex 32) and name '
                "it in key_file"
            )
        if self.key is not None and len(self.key.get_secret_value()) < MIN_KEY_CHARS:
            raise ValueError(
                f"the key has fewer than {MIN_KEY_CHARS} characters, which can be guessed; make "
                "one with: openssl rand -hex 32"
            )
        return self


class ListSettings(Section):
    """[[lists]]: one plate list."""

    name: Annotated[str, AfterValidator(check_list_name)] = Field(
        description="name in events: a-z 0-9 _ -, such as allow, deny or staff"
    )
    file: Path = Field(description="one plate per line; it is read again when it changes")
    match: Literal["exact", "fuzzy"] = Field(
        default="exact",
        description="fuzzy: one wrong, missing or additional character still counts",
    )
    drop: bool = Field(default=False, description="true: events of its plates are not published")


class CommandsSettings(Section):
    """[commands]: what may be asked of the device over MQTT."""

    enabled: bool = Field(
        default=True, description="false: nothing is subscribed to and nothing executed"
    )
    allow: tuple[CommandName, ...] = Field(
        default=ALL_COMMANDS, description="the commands that are executed"
    )
    per_minute: int = Field(
        default=60,
        ge=1,
        le=60_000,
        description="commands that are looked at in a minute; more are refused",
    )


class HomeAssistantSettings(Section):
    """[homeassistant]: MQTT discovery."""

    enabled: bool = Field(
        default=False, description="true: Home Assistant finds this device and its cameras"
    )
    prefix: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="homeassistant", description="Home Assistant's discovery prefix"
    )
