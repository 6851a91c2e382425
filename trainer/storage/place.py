"""Where a run directory lies, as a person gives it: a path of this machine, or a store's URL."""

import re
from pathlib import Path
from typing import Any, Final, TypeAlias

from trainer.errors import RunDirectoryError
from trainer.storage.stored_path import StoredPath
from trainer.storage.troubles import as_os_error

Place: TypeAlias = Path | StoredPath
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(.*)", re.DOTALL)


def place_of(given: str | Place, option: str = "DIR") -> Place:
    """The place that is meant; nothing is asked of a store yet.

    Args:
        given: a path, or an fsspec URL; `file:///a/b` is the path /a/b.
        option: what it was given as, for the messages: `--out`.

    Raises:
        RunDirectoryError: no store is known by that URL, or its package is not installed.
    """
    url = _URL.fullmatch(given) if isinstance(given, str) else None
    if url is None:
        return Path(given) if isinstance(given, str) else given
    where, (protocol, rest) = f"{option} {url[0]}", url.groups()
    if protocol in ("file", "local"):
        if not rest.startswith("/"):
            raise RunDirectoryError(f"{where}: must be absolute: {protocol}:///PATH")
        return Path(rest)
    if "::" in url[0]:
        raise RunDirectoryError(f"{where}: is a chain of stores; give the one that keeps the files")
    if not rest.strip("/"):
        raise RunDirectoryError(f"{where}: names no place; like s3://BUCKET/NAME")
    return _stored(url[0].rstrip("/"), protocol, where)


def _stored(url: str, protocol: str, where: str) -> StoredPath:
    try:
        from fsspec.asyn import AsyncFileSystem
        from fsspec.core import url_to_fs
        from fsspec.implementations.memory import MemoryFileSystem
    except ImportError:
        raise RunDirectoryError(
            f"{where}: needs the package fsspec; pip install 'everstep[storage]'"
        ) from None
    store: Any
    try:
        # What is configured may have changed since another was made for the same URL.
        store, key = url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        mend = "pip install 'everstep[storage]'" if protocol in ("s3", "s3a") else "install that"
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
