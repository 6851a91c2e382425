"""Where a run directory lies, as a person gives it: a path of this machine, or a store's URL."""

import re
from pathlib import Path
from typing import Any, Final, TypeAlias

from trainer.errors import RunDirectoryError
from trainer.storage.stored_path import StoredPath
from trainer.storage.troubles import as_os_error

Place: TypeAlias = Path | StoredPath
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(.*)", re.DOTALL)
_ALMOST: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/(?!/)(.*)", re.DOTALL)
_DISK: Final = ("file", "local")
_INSTALL: Final = (
    "install Everstep with its extra `storage`: pip install '.[storage]' in its directory"
)


def place_of(given: str | Place, option: str = "DIR") -> Place:
    """The place that is meant; nothing is asked of a store yet.

    Args:
        given: a path, or an fsspec URL; `file:///a/b` is the path /a/b.
        option: what it was given as, for the messages: `--out`.

    Raises:
        RunDirectoryError: no store is known by that URL, or its package is not installed.
    """
    if not isinstance(given, str):
        return given
    if (path := path_on_disk(given, option)) is not None:
        return path
    where, (protocol, _, rest) = f"{option} {given}", given.partition("://")
    if "::" in given:
        raise RunDirectoryError(f"{where}: is a chain of stores; give the one that keeps the files")
    if not rest.strip("/"):
        raise RunDirectoryError(f"{where}: names no place; like s3://BUCKET/NAME")
    return _stored(given.rstrip("/"), protocol, where)


def path_on_disk(given: str, option: str) -> Path | None:
    """The path of this machine that is meant; None: it is a store's URL.

    Raises:
        RunDirectoryError: it is almost a URL, and as a path hardly what was meant.
    """
    where = f"{option} {given}"
    if almost := _ALMOST.fullmatch(given):
        protocol, rest = almost.groups()
        meant = f"{protocol}://{'/' if protocol in _DISK else ''}{rest}"
        raise RunDirectoryError(
            f"{where}: looks like a URL with one slash; give {meant}, or ./{given} for a path"
        )
    if (url := _URL.fullmatch(given)) is None:
        return Path(given)
    protocol, rest = url.groups()
    if protocol not in _DISK:
        return None
    if not rest.startswith("/"):
        raise RunDirectoryError(f"{where}: must be absolute: {protocol}:///PATH")
    return Path(rest)


def as_given(place: Place) -> str:
    """What `place_of` takes for the same place, and no command for an option."""
    text = str(place)
    is_odd = isinstance(place, Path) and (text.startswith("-") or _ALMOST.fullmatch(text))
    return f"./{text}" if is_odd else text


def _stored(url: str, protocol: str, where: str) -> StoredPath:
    try:
        from fsspec.asyn import AsyncFileSystem
        from fsspec.core import url_to_fs
        from fsspec.implementations.memory import MemoryFileSystem
    except ImportError:
        raise RunDirectoryError(f"{where}: needs the package fsspec; {_INSTALL}") from None
    store: Any
    try:
        # What is configured may have changed since another was made for the same URL.
        store, key = url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        mend = _INSTALL if protocol in ("s3", "s3a") else "install that"
        raise RunDirectoryError(f"{where}: a package is missing ({error}); {mend}") from None
    except ValueError as error:
        raise RunDirectoryError(
            f"{where}: fsspec opens no {protocol}:// ({error}); give a path, s3://, gs:// or file://"
        ) from None
    except Exception as error:  # of any of the libraries behind fsspec
        raise RunDirectoryError(f"{where}: {as_os_error(error, url).strerror}") from None
    # The object stores among fsspec's file systems are asynchronous ones.
    has_folders = not isinstance(store, AsyncFileSystem | MemoryFileSystem)
    return StoredPath(url, str(key).rstrip("/"), store, has_folders)
