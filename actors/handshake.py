"""Both sides of a new connection prove that they hold the run's key, before anything else.

Each sends a fresh challenge, then an HMAC of both challenges under its own role; the role
keeps an answer from being played back as a question. It does no I/O; `links.py` does.

    both -> peer    magic (8) | challenge (32)
    both -> peer    HMAC-SHA256(key, role | acceptor's challenge | connector's challenge)
"""

import hmac
import secrets
from collections.abc import Callable
from typing import Final, Literal

from actors.errors import LinkError

Role = Literal["acceptor", "connector"]

KEY_BYTES: Final = 32
_MAGIC: Final = b"EVERSTEP"
_CHALLENGE_BYTES: Final = 32
_PROOF_BYTES: Final = 32


def new_key() -> bytes:
    """A run's secret key."""
    return secrets.token_bytes(KEY_BYTES)


class Handshake:
    """Receive into `view`, then `advance` by what came; `done` once the peer is proven."""

    def __init__(
        self,
        key: bytes,
        role: Role,
        send: Callable[[bytes], None],
        challenge: bytes | None = None,
    ) -> None:
        """`send` takes bytes for the peer. `challenge` is random unless a test fixes it."""
        self.done = False
        self._key, self._role, self._send = key, role, send
        self._challenge = challenge or secrets.token_bytes(_CHALLENGE_BYTES)
        self._received = bytearray(len(_MAGIC) + _CHALLENGE_BYTES)
        self._expected: bytes | None = None
        self.view = memoryview(self._received)
        send(_MAGIC + self._challenge)

    def advance(self, count: int) -> None:
        """`count` bytes of `view` are filled.

        Raises:
            LinkError: the peer speaks something else, or does not hold the key.
        """
        self.view = self.view[count:]
        if self.view:
            return
        if self._expected is None:
            self._answer(bytes(self._received))
        elif hmac.compare_digest(self._received, self._expected):
            self.done = True
        else:
            raise LinkError("link: the peer does not hold this run's key; refused")

    def _answer(self, opening: bytes) -> None:
        magic, theirs = opening[: len(_MAGIC)], opening[len(_MAGIC) :]
        if magic != _MAGIC:
            raise LinkError("link: the peer does not speak Everstep's protocol; refused")
        peer: Role = "connector" if self._role == "acceptor" else "acceptor"
        self._send(self._proof(self._role, theirs))
        self._expected = self._proof(peer, theirs)
        self._received = bytearray(_PROOF_BYTES)
        self.view = memoryview(self._received)

    def _proof(self, role: Role, theirs: bytes) -> bytes:
        accepting = self._role == "acceptor"
        challenges = (self._challenge, theirs) if accepting else (theirs, self._challenge)
        return hmac.digest(self._key, b"|".join((role.encode(), *challenges)), "sha256")
