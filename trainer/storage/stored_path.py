"""A name in a store, with what a run directory needs of `pathlib.Path`, under the same names.

Where there are no folders, `a/b` is one name, and `a` is there as long as anything begins with
`a/`. A file is written under its final name: an object store shows all of it or nothing.
"""

import errno
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from trainer.storage.troubles import store_troubles


def _anybody() -> None:
    """Of a path that nobody holds: all may write."""


@dataclass(frozen=True, slots=True)
class StoredPath:
    """Every method raises OSError, with one line as its `strerror`.

    `write`, `unlink` and `rename` also raise what `held_by` was given raises.
    """

    url: str  # as a person gives it, without a slash at the end
    _key: str = field(repr=False)  # what fsspec makes of it
    _store: Any = field(repr=False, compare=False)  # fsspec's `AbstractFileSystem`
    _has_folders: bool = field(repr=False, compare=False)  # that have to be made
    _check: Callable[[], None] = field(default=_anybody, repr=False, compare=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str | Path) -> "StoredPath":
        return self._named(f"{self.url}/{name}", f"{self._key}/{name}")

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.url.rpartition("/")[2]

    def with_name(self, name: str) -> "StoredPath":
        """Beside this one."""
        return self._named(
            f"{self.url.rpartition('/')[0]}/{name}", f"{self._key.rpartition('/')[0]}/{name}"
        )

    def held_by(self, check: Callable[[], None]) -> "StoredPath":
        """The same, and all below it, for whoever may write only after this call has returned."""
        return replace(self, _check=check)

    def exists(self) -> bool:
        return self._kind() is not None

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: ARG002
        """Nothing in an object store, where it could make a bucket, which nobody asked for."""
        if self._has_folders:
            with store_troubles(self.url):
                self._store.makedirs(self._key, exist_ok=exist_ok)

    def rmdir(self) -> None:
        with store_troubles(self.url):
            self._store.rmdir(self._key)

    def iterdir(self) -> "Iterator[StoredPath]":
        with store_troubles(self.url):
            self._store.invalidate_cache()
            listed = self._store.ls(self._key, detail=False)
        names = (str(key).rstrip("/").rpartition("/")[2] for key in listed if key != self._key)
        return iter([self / name for name in names if name])

    def glob(self, pattern: str) -> "list[StoredPath]":
        """Of what lies directly in it; nothing where it is not."""
        try:
            return [path for path in self.iterdir() if fnmatchcase(path.name, pattern)]
        except FileNotFoundError:
            return []

    def read_bytes(self) -> bytes:
        with store_troubles(self.url):
            return bytes(self._store.cat_file(self._key))

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write(self, content: bytes) -> None:
        """All of it, in the place of what was there."""
        self._check()
        with store_troubles(self.url):
            if self._has_folders:
                self._store.makedirs(self._key.rpartition("/")[0], exist_ok=True)
            self._store.pipe_file(self._key, content)

    def create(self, content: bytes) -> None:
        """The same, but a FileExistsError if anything is there: S3 and GCS see to it."""
        try:
            with store_troubles(self.url):
                self._store.pipe_file(self._key, content, mode="create")
        except OSError as error:
            if error.errno == errno.EIO and self.is_file():  # an older library's way to say so
                raise FileExistsError(self.url) from None
            raise

    def unlink(self, missing_ok: bool = False) -> None:
        self._check()
        try:
            with store_troubles(self.url):
                self._store.rm_file(self._key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, target: "StoredPath") -> None:
        """A copy, and the removal of what was copied."""
        self._check()
        with store_troubles(self.url):
            self._store.cp_file(self._key, target._key)
            self._store.rm_file(self._key)

    def _named(self, url: str, key: str) -> "StoredPath":
        return replace(self, url=url, _key=key)

    def _kind(self) -> str | None:
        """Of fsspec's kinds; None: nothing is there. Not `exists`, for which trouble is absence."""
        try:
            with store_troubles(self.url):
                self._store.invalidate_cache()
                return str(self._store.info(self._key)["type"])
        except FileNotFoundError:
            return None


@contextmanager
def local_copy(path: Path | StoredPath) -> Iterator[Path]:
    """A file of this machine with the same content, for what reads no other."""
    if isinstance(path, Path):
        yield path
        return
    content = path.read_bytes()
    with tempfile.NamedTemporaryFile(prefix="everstep-") as file:
        file.write(content)
        file.flush()
        yield Path(file.name)
