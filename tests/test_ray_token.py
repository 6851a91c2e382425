"""What is said of a token that a cluster does not take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.errors import ClusterError
from actors.ray_token import (
    about_token,
    refuse_no_token,
    show_what_lies_here,
    token_of_its_own,
    where_the_token_is,
)

GIVE = "set RAY_AUTH_TOKEN, or copy ~/.ray/auth_token of the cluster's head"
REFUSED = "RPC error: InvalidAuthToken: Authentication token is missing or incorrect."
NOT_SENT = f"{REFUSED} Note: RAY_AUTH_MODE is currently 'disabled' (not 'token')."


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_token_it_is_said_where_one_is_to_be_had() -> None:
    assert about_token(NOT_SENT) == (
        f"it wants a token, and there is none here; set RAY_AUTH_MODE=token, and {GIVE}"
    )


def test_a_token_that_was_not_shown_is_to_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    assert about_token(NOT_SENT) == (
        "it wants a token; set RAY_AUTH_MODE=token, and the one in RAY_AUTH_TOKEN is shown"
    )


def test_another_s_token_is_named_by_its_place_in_ray_s_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t" * 64)
    said = []
    for name, value in (("", ""), ("RAY_AUTH_TOKEN_PATH", "/a/b"), ("RAY_AUTH_TOKEN", "t" * 64)):
        if name:
            monkeypatch.setenv(name, value)
        said.append(about_token(REFUSED))
    assert said == [
        f"the token in {where} is not the cluster's; {GIVE}"
        for where in ("~/.ray/auth_token", "/a/b", "RAY_AUTH_TOKEN")
    ]


def test_who_is_to_show_a_token_and_has_none_does_not_even_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_no_token()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ClusterError, match="there is no token here; set RAY_AUTH_TOKEN, or copy"):
        refuse_no_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    refuse_no_token()
    assert where_the_token_is() == "RAY_AUTH_TOKEN"


@pytest.mark.parametrize(
    ("mode", "token", "shown"),
    [("", "", None), (None, None, None), (None, "t" * 64, "token"), ("disabled", "t" * 64, None)],
)
def test_a_token_that_lies_here_is_shown_unless_somebody_said_otherwise(
    mode: str | None, token: str | None, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RAY_AUTH_MODE", mode), ("RAY_AUTH_TOKEN", token)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert show_what_lies_here() == (shown is not None)
    assert os.environ.pop("RAY_AUTH_MODE", None) == (shown or mode)


def test_a_ray_of_one_s_own_gets_a_token_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with token_of_its_own():
        first = os.environ["RAY_AUTH_TOKEN"]
    assert len(first) == 64
    assert where_the_token_is() is None
    with token_of_its_own():
        assert os.environ["RAY_AUTH_TOKEN"] != first
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    with token_of_its_own():
        assert os.environ["RAY_AUTH_TOKEN"] == "t" * 64
    assert os.environ["RAY_AUTH_TOKEN"] == "t" * 64


def test_only_what_is_written_meanwhile_is_dropped() -> None:
    program = (
        "import os\n"
        "from actors.ray_token import silent_stderr\n"
        "os.write(2, b'before ')\n"
        "with silent_stderr(): os.write(2, b'meanwhile ')\n"
        "os.write(2, b'after')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=60, env=os.environ
    )
    assert done.stderr == b"before after"
