"""What the trainer raises on purpose; the tree's root is in `actors.errors`.

EverstepError
├── ConfigError         a configuration that can not be; names the key and what is allowed
├── DataError           data that can not be trained on; names the file and the place
├── ShapeError          arrays that do not fit a network
├── CheckpointError     a checkpoint that can not be read or written
├── RunDirectoryError   a run directory that can not be used
├── RunWriteError       a file of a running training that can not be written
│   └── LockLostError   nor any other any more: another process may have the run
├── DivergedError       the loss is no finite number any more
└── ExperimentError     a run of an experiment failed, or ended with other weights
"""

from actors.errors import EverstepError


class ConfigError(EverstepError):
    """A configuration that can not be: key, value, what is allowed."""


class DataError(EverstepError):
    """Data that can not be trained on: file, place, what was expected."""


class ShapeError(EverstepError):
    """Arrays that do not fit the network's layout."""


class CheckpointError(EverstepError):
    """A checkpoint that is missing, damaged, or can not be written."""


class RunDirectoryError(EverstepError):
    """A run directory that holds another run already, or can not be written."""


class RunWriteError(EverstepError):
    """A file of a running training that can not be written: the disk is full, say."""


class LockLostError(RunWriteError):
    """The lock of a run directory is another process's, or may be: training ends with this."""


class DivergedError(EverstepError):
    """The loss is no finite number any more."""


class ExperimentError(EverstepError):
    """A run of an experiment failed, or ended with other weights than the undisturbed one."""
