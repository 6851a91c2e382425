"""The token that a Ray cluster may want: where it lies here, and what is wrong when it is refused.

Ray's own words are a paragraph that does not know which of its cases this is, and where a token
is wanted and there is none, its native part ends the process. Knows no Ray.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from actors.errors import ClusterError

_MODE: Final = "RAY_AUTH_MODE"
_TOKEN: Final = "RAY_AUTH_TOKEN"  # noqa: S105 - a name
_TOKEN_PATH: Final = "RAY_AUTH_TOKEN_PATH"  # noqa: S105
_FILE: Final = "~/.ray/auth_token"
_TOKEN_BYTES: Final = 32
_OFF: Final = "'disabled'"  # Ray's word, where it sent none
_GIVE: Final = f"set {_TOKEN}, or copy {_FILE} of the cluster's head"


def where_the_token_is() -> str | None:
    """In Ray's order; None: nowhere."""
    if os.environ.get(_TOKEN):
        return _TOKEN
    if path := os.environ.get(_TOKEN_PATH):
        return path
    return _FILE if Path(_FILE).expanduser().exists() else None


def refuse_no_token() -> None:
    """Raise ClusterError where a token is to be shown and there is none."""
    if os.environ.get(_MODE) == "token" and where_the_token_is() is None:
        raise ClusterError(f"{_MODE}=token, and there is no token here; {_GIVE}")


def show_what_lies_here() -> bool:
    """Turn token authentication on where a token lies and nobody said a word; whether it did so.

    For the cluster of this node only, as the newest Ray has it: the token is not for everybody.
    """
    if _MODE in os.environ or where_the_token_is() is None:
        return False
    os.environ[_MODE] = "token"
    return True


def about_token(cause: str) -> str:
    """Why a cluster refused this process, and what to do; `cause`: what Ray said."""
    if (where := where_the_token_is()) is None:
        return f"it wants a token, and there is none here; set {_MODE}=token, and {_GIVE}"
    if _OFF in cause:
        return f"it wants a token; set {_MODE}=token, and the one in {where} is shown"
    return f"the token in {where} is not the cluster's; {_GIVE}"


@contextmanager
def token_of_its_own() -> Iterator[None]:
    """For a Ray that is started meanwhile, where there is no token here.

    The newest Ray would write one into the home directory, where every other Ray of this user
    would find and want it from then on.
    """
    if where_the_token_is() is not None:
        yield
        return
    os.environ[_TOKEN] = secrets.token_hex(_TOKEN_BYTES)
    try:
        yield
    finally:
        del os.environ[_TOKEN]


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Meanwhile, what native code writes to it is dropped: for a call that takes a moment."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
