"""Everything that Everstep raises on purpose.

    EverstepError
    ├── ClusterError        training can not go on; says why
    │   └── ClusterLostError    there it can not, in another cluster it can
    ├── LinkError           two actors can not be linked; says with whom and why
    ├── ProtocolError       a message that its receiver can not accept
    ├── WireError           bytes that are not a message
    │   └── LendingError    lent memory that can not be had; bytes may do
    └── (trainer.errors)    what can be wrong with configuration, data, files, training

Each carries one line that says what, where and how to mend, and survives pickling.
"""


class EverstepError(Exception):
    """The root: whoever catches this catches all that Everstep raises on purpose."""


class ClusterError(EverstepError):
    """Training can not go on: no worker is left, the server is gone, nothing could start."""


class ClusterLostError(ClusterError):
    """Nobody answers where the Ray cluster was, or should be: training can go on in another."""


class LinkError(EverstepError):
    """Two actors can not be linked: nobody listens, or the other side does not hold the key."""


class ProtocolError(EverstepError):
    """A message that does not fit its receiver: another tree, another parameter vector."""


class WireError(EverstepError):
    """Bytes that are not a message, or a message too large for the link."""


class LendingError(WireError):
    """Memory that a peer lends can not be had here: too many open files, or none came along."""
