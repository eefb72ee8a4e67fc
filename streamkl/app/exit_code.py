"""Exit code: what a run comes to, for scripts.

Rule: 1 means drift and nothing else; whatever goes wrong has a code of its own.
"""

from __future__ import annotations

from streamkl.errors import StateError, StreamklError, Unavailable

EXIT_DRIFT, EXIT_USAGE, EXIT_STATE, EXIT_UNAVAILABLE, EXIT_BUG, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 3, 4, 70, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: a Ctrl-C from somebody who is not at the keyboard."""


def exit_code(error: StreamklError | KeyboardInterrupt) -> int:
    """Return the code of a run that was ended by an error or by a signal.

    >>> exit_code(Unavailable("cannot open 'a.csv'")), exit_code(Terminated())
    (4, 143)
    """
    if isinstance(error, KeyboardInterrupt):
        return EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED
    return EXIT_STATE if isinstance(error, StateError) else EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_USAGE
