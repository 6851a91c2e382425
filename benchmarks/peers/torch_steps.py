"""The training loop that PyTorch's tutorials show, for one process and for DDP.

Tensors in memory, rows by precomputed indices, no DataLoader; `zero_grad` sets to None, its
default; the fused optimizer, in theory the fastest, says PyTorch's reference. Not compiled:
`torch.compile` needs a C++ compiler, and DDP's own page shows the plain loop.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cases import LEARNING_RATE, Case, Work, load
from benchmarks.turn import WARM_UP_STEPS, Trained

_ACTIVATIONS = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}


def train(case: Case, folder: Path, rank: int | None = None) -> Trained:
    """All steps of a case.

    Args:
        rank: None: in this process alone; else its half of each batch, in the process group that
            stands already.
    """
    work = load(case, folder)
    model = build(case, work)
    forward, order = model, work.order
    if rank is not None:
        forward = torch.nn.parallel.DistributedDataParallel(
            model, gradient_as_bucket_view=True, static_graph=True
        )
        order = work.halves()[rank]
    loop = _Loop(forward, work)
    batches = torch.from_numpy(order).unbind()
    loop.run(batches[:WARM_UP_STEPS])
    set_parameters(model, work.parameters)  # as if it had not been warmed up
    if rank is not None:
        torch.distributed.barrier()
    first_s = time.monotonic()
    loop.run(batches)
    last_s = time.monotonic()
    return Trained(first_s, last_s, parameters_of(model))


def build(case: Case, work: Work) -> torch.nn.Sequential:
    """The case's network with the weights to begin with."""
    layers: list[torch.nn.Module] = []
    for before, after in zip(case.sizes, case.sizes[1:], strict=False):
        layers += [torch.nn.Linear(before, after), _ACTIVATIONS[case.activation]()]
    model = torch.nn.Sequential(*layers[:-1])  # softmax is in the loss
    set_parameters(model, work.parameters)
    return model


def set_parameters(model: torch.nn.Module, flat: NDArray[np.float32]) -> None:
    """Layer by layer weights, then biases: PyTorch's order is Everstep's."""
    start = 0
    with torch.no_grad():
        for parameter in model.parameters():
            part = flat[start : start + parameter.numel()]
            parameter.copy_(torch.from_numpy(part).view_as(parameter))
            start += parameter.numel()


def parameters_of(model: torch.nn.Module) -> NDArray[np.float32]:
    """As one vector."""
    flat: NDArray[np.float32] = torch.nn.utils.parameters_to_vector(model.parameters()).numpy(
        force=True
    )
    return flat


class _Loop:
    def __init__(self, forward: torch.nn.Module, work: Work) -> None:
        self._forward = forward
        self._inputs, self._labels = torch.from_numpy(work.inputs), torch.from_numpy(work.labels)
        self._optimizer = torch.optim.SGD(forward.parameters(), lr=LEARNING_RATE, fused=True)
        self._loss = torch.nn.CrossEntropyLoss()

    def run(self, batches: Iterable[torch.Tensor]) -> None:
        for rows in batches:
            self._optimizer.zero_grad()
            loss = self._loss(self._forward(self._inputs[rows]), self._labels[rows])
            loss.backward()
            self._optimizer.step()
