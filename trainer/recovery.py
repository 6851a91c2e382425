"""One disturbance of a training, and what is known of the way out of it."""

from dataclasses import dataclass
from typing import Literal

from actors.messages import SERVER
from actors.names import slot_of


@dataclass(slots=True)
class Recovery:
    """A death, a suspicion or a standstill; None: not known yet, or never."""

    name: str
    event: Literal["died", "suspected", "stalled"]
    cause: str
    at_step: int  # the last one that the driver had heard of
    at_s: float  # when the driver heard of it; of the driver itself: when it last gave a sign
    detected_s: float | None = None  # from the fault, where it was planned, to the news of it
    takeover_s: float | None = None  # from the news to the next finished step
    restart_s: float | None = None  # from the death to the replacement's Hello
    repeated_steps: int = 0
    stalled_s: float | None = None  # without a finished step

    def is_got_over(self, step: int) -> bool:
        """A step was finished after it; `step`: the last one that was heard of."""
        if self.takeover_s == 0.0:  # so it seemed, before the news came: has it gone on since?
            return step > self.at_step
        return self.takeover_s is not None

    def is_over(self, step: int) -> bool:
        """All is known that will be; the rest is told when training ends."""
        if not (self.takeover_s and self.is_got_over(step)):
            return False
        if self.event != "died":
            return True
        if self.restart_s is None:
            return False
        return slot_of(self.name) != SERVER or self.repeated_steps > 0
