"""Faults on purpose: a plan, when each one is due, and the signals that bring it about.

Read `plan.py`, `schedule.py`, `injection.py`, in this order.
"""
