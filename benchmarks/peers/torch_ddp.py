"""PyTorch's DistributedDataParallel on gloo: two processes with one thread each.

As PyTorch's tutorial on DDP has it: `torch.multiprocessing.spawn`, a process group, the model in
`DistributedDataParallel`; with `gradient_as_bucket_view` and `static_graph`, which its reference
says save copies and searches. gloo talks over the loopback interface. The loop is in `torch_steps`.
"""

import argparse
import os
import sys

from benchmarks import turn
from benchmarks.cases import WORKERS


def main() -> int:
    """The turn; its exit status."""
    options = turn.begin(turn.arguments(__doc__), "torch")
    import torch.multiprocessing

    os.environ |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    meeting = options.out.with_suffix(".meeting").absolute()
    torch.multiprocessing.spawn(_rank, (options, f"file://{meeting}"), nprocs=WORKERS)
    return 0


def _rank(rank: int, options: argparse.Namespace, meeting: str) -> None:
    import torch

    from benchmarks.peers.torch_steps import train

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    rows = turn.take(options, lambda case, folder: train(case, folder, rank))
    if rank == 0:
        turn.write(options, rows)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
