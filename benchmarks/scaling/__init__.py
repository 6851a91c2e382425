"""The parts of `python -m benchmarks.scale`, and what they are measured with."""
