"""Stores for run directories: one in this process's memory, and a server that speaks S3."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

BUCKET: Final = "runs"
# A client of no account, that looks for nothing outside and gives up soon.
ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


class S3Server:
    """moto's on loopback, with a bucket."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.address = f"http://{host}:{port}"
        self._post(f"/{BUCKET}", b"", method="PUT")

    def stop(self) -> None:
        self._server.stop()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """For as long as the `with` block lasts nobody may do anything."""
        self._post("/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self._post("/moto-api/reset-auth", b"inf")

    def _post(self, path: str, content: bytes, method: str = "POST") -> None:
        kind = {"Content-Type": "text/plain"}
        request = urllib.request.Request(self.address + path, content, kind, method=method)
        urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, to which the environment points."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.address)
    return s3_server


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a place in memory, where nothing is yet and nothing stays."""
    from fsspec.implementations.memory import MemoryFileSystem

    yield "memory://store/run"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
