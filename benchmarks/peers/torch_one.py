"""PyTorch in one process, with as many threads as it is told. The loop is in `torch_steps`."""

import sys

from benchmarks import turn


def main() -> int:
    """The turn; its exit status."""
    parser = turn.arguments(__doc__)
    parser.add_argument("--threads", type=int, required=True)
    options = turn.begin(parser, "torch")
    import torch

    from benchmarks.peers.torch_steps import train

    torch.set_num_threads(options.threads)
    turn.write(options, turn.take(options, train))
    return 0


if __name__ == "__main__":
    sys.exit(main())
