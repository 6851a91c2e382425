"""Experiments: the same training undisturbed and under a plan of faults, side by side.

Read `runs.py`, `record.py`, `table.py`, `timeline.py`, in this order.
"""
