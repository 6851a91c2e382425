"""Run directories in a store that fsspec knows: `s3://`, `gs://`, `memory://`, and the others.

Such a store has no folders, no rename, no append and no lock. `place.py` says what a run
directory is: a path of this machine, for which nothing here is used, or a `stored_path.py`.
Its lines are kept by `stored_lines.py`, its lock is `stored_lock.py`, and `courier.py` carries
both to the store while a training runs.
"""
