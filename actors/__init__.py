"""The distributed machine: a parameter server, workers and a coordinator as actors.

It trains anything that offers an `Objective` and an `Optimizer` (`objectives.py`) and
knows nothing of neural networks. Read on in the order in which a step flows:
`messages.py`, `worker.py`, `reduction.py`, `parameter_server.py`, `coordinator.py`; then
the shells that run these cores: `local_cluster.py`, `simulation.py` and `ray_cluster.py`.
"""
