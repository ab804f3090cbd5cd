"""Limits, the token and the addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from grcsf.errors import SettingsError
from grcsf.serve.settings import TOKEN_VARIABLE, ServeSettings, check_address, is_loopback, read_token

TOKEN = "0123456789abcdef"


def test_the_default_is_loopback_with_one_worker() -> None:
    settings = ServeSettings()
    assert is_loopback(settings.host)
    assert settings.workers == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "scans.example.org", "127.0.0.1.example.org"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    settings = ServeSettings(host=host)
    with pytest.raises(SettingsError, match="a token is needed"):
        check_address(settings, None)
    check_address(settings, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "LOCALHOST"])
def test_loopback_needs_none(host: str) -> None:
    check_address(ServeSettings(host=host), None)


@pytest.mark.parametrize(
    ("name", "value"), [("port", 70000), ("queue", 0), ("max_upload_mb", float("inf")), ("workers", 0), ("colour", 1)]
)
def test_a_limit_that_does_not_fit_is_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name.replace("_", "-")):
        ServeSettings.of({name: value})


def test_megabytes_are_a_million_bytes() -> None:
    assert ServeSettings(max_upload_mb=1.5).max_upload_bytes == 1_500_000
    assert ServeSettings(max_unpacked_mb=2).max_unpacked_bytes == 2_000_000


def test_the_token_of_a_file_comes_before_that_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f" {TOKEN}\n")
    assert read_token(file, {TOKEN_VARIABLE: "x" * 20}) == TOKEN
    assert read_token(None, {TOKEN_VARIABLE: "x" * 20}) == "x" * 20
    assert read_token(None, {}) is None


@pytest.mark.parametrize("text", ["", "short", "with blanks in it", "längeres-wort-äöü"])
def test_a_token_that_is_weak_or_no_plain_text_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="expected at least 16") as error:
        read_token(file, {})
    assert not text or text not in str(error.value)
    with pytest.raises(SettingsError, match=TOKEN_VARIABLE):
        read_token(None, {TOKEN_VARIABLE: text})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--token-file none.txt: cannot be read"):
        read_token(tmp_path / "none.txt", {})
