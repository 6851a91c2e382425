"""One replica group of `torchft_ddp`: managed data-parallel steps until it is killed.

The loop is the one of torchft's train_ddp.py example: its `DistributedSampler`, a `Manager` over
gloo with the example's timeouts, its `Optimizer`. Each iteration takes the next batch, whether
the last one was committed or not. The example asks users to checkpoint the data loader often;
here the step log serves as a checkpoint of it at every step, so that a restarted replica goes on
with the batch it died in.

The gradients are averaged in one of two ways. `ddp` is torchft's `DistributedDataParallel`, as in
the example; but in 0.2.0 it ends the *surviving* process with an AssertionError when gloo reports
that the other one died, and then the training starts from step 1. `allreduce` is what that
wrapper is built on, `Manager.allreduce`, one call for the flat gradient; it survives.

Run by torchrun: `-m benchmarks.peers.torchft_replica FOLDER STEP_S ddp|allreduce`.
"""

import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import torch
from torchft import DistributedDataParallel, DistributedSampler, Manager, Optimizer
from torchft.checkpointing.pg_transport import PGTransport
from torchft.process_group import ProcessGroupGloo

from benchmarks.peers.kills import emulate_compute
from benchmarks.step_log import StepLog, read_attempts

_BATCH_ROWS = 16
_ROWS = 4096


def main(folder: Path, step_s: float, gradients: str) -> None:
    """Train as replica group REPLICA_GROUP_ID, for as long as torchrun lives."""
    group = int(os.environ["REPLICA_GROUP_ID"])
    torch.set_num_threads(1)
    model = torch.nn.Linear(64, 10)
    inner = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    manager = _manager(group, model, inner)
    forward = DistributedDataParallel(manager, model) if gradients == "ddp" else model
    optimizer = Optimizer(manager, inner)
    commits = []
    inner.register_step_post_hook(lambda *_: commits.append(manager.current_step()))
    torchrun = os.getppid()
    with StepLog(folder, group) as log:
        for batch, (inputs, labels) in _batches(folder, group):
            if os.getppid() != torchrun:
                break
            commits.clear()
            started_s = time.monotonic()
            optimizer.zero_grad()  # the quorum is asked for here
            loss = torch.nn.functional.cross_entropy(forward(inputs), labels)
            emulate_compute(started_s, step_s)
            loss.backward()  # with `ddp`, the gradients are averaged here
            if gradients == "allreduce":
                _average(manager, model)
            optimizer.step()  # of the inner optimizer, only if all went well
            # A replica that was healing took part with a gradient of zeros.
            applied = bool(commits) and manager.is_participating()
            log.append(manager.current_step(), batch, applied)


def _manager(group: int, model: torch.nn.Module, inner: torch.optim.Optimizer) -> Manager:
    def state() -> dict[str, object]:
        return {"model": model.state_dict(), "optimizer": inner.state_dict()}

    def load(loaded: dict[str, dict[str, object]]) -> None:
        model.load_state_dict(loaded["model"])
        inner.load_state_dict(loaded["optimizer"])

    processes = ProcessGroupGloo(timeout=timedelta(seconds=5))
    return Manager(
        pg=processes,
        min_replica_size=1,
        load_state_dict=load,
        state_dict=state,
        replica_id=f"replica_{group}",
        timeout=timedelta(seconds=30),
        checkpoint_transport=PGTransport(
            processes, timeout=timedelta(seconds=10), device=torch.device("cpu")
        ),
        hostname="127.0.0.1",
    )


def _average(manager: Manager, model: torch.nn.Module) -> None:
    """Average the gradients over the replicas; the manager notes an error for `Optimizer.step`."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    manager.allreduce(flat).wait()
    averages = flat.split([gradient.numel() for gradient in gradients])
    for gradient, average in zip(gradients, averages, strict=True):
        gradient.copy_(average.view_as(gradient))


def _batches(folder: Path, group: int) -> Iterator[tuple[int, tuple[torch.Tensor, torch.Tensor]]]:
    """The replica's batches with their numbers, from where its last process stopped."""
    rows = torch.Generator().manual_seed(0)
    inputs = torch.randn(_ROWS, 64, generator=rows)
    labels = torch.randint(10, (_ROWS,), generator=rows)
    sampler = DistributedSampler(
        torch.utils.data.TensorDataset(inputs, labels),
        replica_rank=group,
        num_replica_groups=int(os.environ["NUM_REPLICA_GROUPS"]),
        group_rank=0,
        num_replicas=1,
    )
    own = list(sampler)
    per_epoch = len(own) // _BATCH_ROWS
    batch = max((a.batch + 1 for a in read_attempts(folder) if a.worker == group), default=0)
    while True:
        first = batch % per_epoch * _BATCH_ROWS
        chosen = own[first : first + _BATCH_ROWS]
        yield batch, (inputs[chosen], labels[chosen])
        batch += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
