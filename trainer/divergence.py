"""A number that is not finite, told to people: step, shard, layer, and what helps."""

from collections.abc import Sequence

from actors.messages import EpochDone, NotFinite
from trainer.config import TrainingConfig
from trainer.errors import DivergedError
from trainer.layout import Span


def diverged(found: NotFinite, spans: Sequence[Span], training: TrainingConfig) -> DivergedError:
    """What a `NotFinite` means to whoever chose the configuration.

    Args:
        spans: the layers in the flat vector, as `layout.spans_of` gives them.
    """
    if found.shard < 0:
        what = f"the update of {_place(found.index, spans)} is not finite"
    elif found.index < 0:
        what = f"the loss of shard {found.shard} is not finite"
    else:
        sent = "gradient" if training.local_steps == 1 else "difference"
        what = f"the {sent} of shard {found.shard} is not finite in {_place(found.index, spans)}"
    return DivergedError(f"training diverged in step {found.step + 1}: {what}; {_mend(training)}")


def epoch_diverged(
    done: EpochDone, steps_per_epoch: int, training: TrainingConfig
) -> DivergedError:
    """Finite steps whose sum is not."""
    return DivergedError(
        f"training diverged: the loss is {done.loss_sum / done.sample_count:g} in epoch"
        f" {done.epoch + 1} (steps {done.step - steps_per_epoch + 1} to {done.step});"
        f" {_mend(training)}"
    )


def _mend(training: TrainingConfig) -> str:
    lower = f"lower training.learning_rate, now {training.learning_rate:g}"
    if training.local_steps == 1:
        return lower
    return f"{lower}, or training.local_steps, now {training.local_steps}"


def _place(index: int, spans: Sequence[Span]) -> str:
    for number, span in enumerate(spans, start=1):
        if index < span.stop:
            part = "weights" if index < span.middle else "biases"
            return f"the {part} of layer {number}"
    return f"value {index}"
