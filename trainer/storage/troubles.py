"""What a store's library raises, as an OSError: one line that says what and how to mend it.

Each library has exceptions of its own, and none is imported here: they are known by their names.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NO_CREDENTIALS: Final = ("Credential", "ProfileNotFound", "TokenRetrieval")
_UNREACHABLE: Final = ("Connect", "Timeout", "gaierror")
_MOST: Final = 300  # letters


@contextmanager
def store_troubles(url: str) -> Iterator[None]:
    """Whatever goes wrong inside is raised as an OSError that names `url`."""
    try:
        yield
    except Exception as error:  # of any of the libraries behind fsspec
        raise as_os_error(error, url) from None


def as_os_error(error: Exception, url: str) -> OSError:
    """The error of the same meaning whose `strerror` is a line for a person."""
    text, names = _line(error), _names(error)
    match error:
        case FileExistsError():
            return FileExistsError(errno.EEXIST, "exists already", url)
        case FileNotFoundError():
            if "bucket" in text:  # else it is but the name once more
                line = f"{text}; make it first, or mend its name"
                return FileNotFoundError(errno.ENOENT, line, url)
            return FileNotFoundError(errno.ENOENT, "not in the store", url)
        case PermissionError():
            line = f"access denied ({text}); check the credentials and what they allow"
            return PermissionError(errno.EACCES, line, url)
        case NotImplementedError():
            return OSError(errno.ENOTSUP, "the store can only be read", url)
    if any(part in name for part in _NO_CREDENTIALS for name in names):
        line = f"no credentials for this store ({text}); docs/storage.md says where they go"
        return PermissionError(errno.EACCES, line, url)
    if any(part in name for part in _UNREACHABLE for name in names):
        line = f"the store can not be reached ({text}); check its address and the network"
        return OSError(errno.EHOSTUNREACH, line, url)
    return OSError(errno.EIO, text, url)


def _line(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(told.split()).rstrip(" .")[:_MOST] or type(error).__name__


def _names(error: BaseException) -> set[str]:
    """Of its classes, and of those of what caused it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return names | (_names(error.__cause__) if error.__cause__ else set())
