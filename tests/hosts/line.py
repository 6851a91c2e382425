"""A program: a bad line between two bridges. What goes in comes out late, or not at all.

    python -m tests.hosts.line DEVICE DEVICE '{"delay_s": 0.1, "loss": 0.2, "seed": 0}'

It makes the two devices (TAP), prints `ready`, and passes the frames of each on to the other
until SIGTERM; then it prints what it did to how many frames. The kernel's own way, the netem
discipline, is not in every kernel, and draws its losses anew each time; these are the same for
the same frames. `network.py` puts it into a host's cable.
"""

import fcntl
import heapq
import json
import os
import random
import selectors
import signal
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Final

_SET_DEVICE: Final = 0x400454CA  # TUNSETIFF
_TAP_WITHOUT_HEADER: Final = 0x0002 | 0x1000
_FRAME_BYTES: Final = 65536
_MOST_FRAMES: Final = 10_000  # on their way at once, each way; more are lost


@dataclass(frozen=True)
class Weather:
    """What the line does to a frame."""

    delay_s: float = 0.0  # each way
    loss: float = 0.0  # the share of frames that are lost, each way
    deaf: bool = False  # nothing reaches the first device
    mute: bool = False  # nothing that comes from the first device arrives
    seed: int = 0


@dataclass
class Direction:
    """From one device to the other."""

    source: int
    target: int
    blocked: bool
    random: random.Random
    did: Counter[str]
    waiting: list[tuple[float, int, bytes]] = field(default_factory=list)

    def take(self, now_s: float, number: int, weather: Weather) -> None:
        """Read one frame, and decide about it."""
        frame = os.read(self.source, _FRAME_BYTES)
        lost = self.random.random() < weather.loss or len(self.waiting) >= _MOST_FRAMES
        if self.blocked:
            self.did["blocked"] += 1
        elif lost:
            self.did["lost"] += 1
        else:
            heapq.heappush(self.waiting, (now_s + weather.delay_s, number, frame))

    def deliver(self, now_s: float) -> float | None:
        """Write what is due; how long until the next one is."""
        while self.waiting:
            due_s, _, frame = self.waiting[0]
            if due_s > now_s:
                return due_s - now_s
            heapq.heappop(self.waiting)
            os.write(self.target, frame)
            self.did["delivered"] += 1
        return None


def device(name: str) -> int:
    """A TAP device of that name, gone when its descriptor is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _SET_DEVICE, struct.pack("16sH14x", name.encode(), _TAP_WITHOUT_HEADER))
    return descriptor


def main(near: str, far: str, weather: Weather) -> None:
    here, there = device(near), device(far)
    did: Counter[str] = Counter()
    out = Direction(here, there, weather.mute, random.Random(weather.seed), did)
    back = Direction(there, here, weather.deaf, random.Random(weather.seed + 1), did)

    def end(*_: object) -> None:
        print(json.dumps(did), flush=True)
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    with selectors.DefaultSelector() as selector:
        for direction in (out, back):
            selector.register(direction.source, selectors.EVENT_READ, direction)
        print("ready", flush=True)
        numbers = count()
        while True:
            now_s = time.monotonic()
            waits = [direction.deliver(now_s) for direction in (out, back)]
            due_s = min((wait for wait in waits if wait is not None), default=None)
            for key, _ in selector.select(due_s):
                key.data.take(time.monotonic(), next(numbers), weather)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Weather(**json.loads(sys.argv[3])))
