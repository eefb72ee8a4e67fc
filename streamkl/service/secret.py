"""Secret: a text that is used and never shown.

Rule 1: repr, str, format, a log line, a dump and a traceback show where it came from, never what it is.
Rule 2: it is not stored: neither pickled nor copied into anything that is.
"""

from __future__ import annotations

from typing import Never, final

SHOWN = "<secret"


class HiddenText(str):
    """A secret on its way into a client that wants a str: its characters are there, its repr is not, so that a logged configuration hides it.

    >>> {"password": HiddenText("hunter2")}, len(HiddenText("hunter2"))
    ({'password': <secret>}, 7)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{SHOWN}>"

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret is not stored; keep what says where it comes from")


@final
class Secret:
    """A password, and where it was read. origin: e.g. "the environment variable KAFKA_PASSWORD".

    >>> secret = Secret("hunter2", "the file /run/secrets/kafka")
    >>> print(secret, secret.reveal() == "hunter2")
    <secret from the file /run/secrets/kafka> True
    """

    __slots__ = ("_text", "origin")

    def __init__(self, text: str, origin: str) -> None:
        self._text = HiddenText(text)
        self.origin = origin

    def reveal(self) -> HiddenText:
        """Return the text, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return f"{SHOWN} from {self.origin}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and str.__eq__(self._text, other._text)

    def __hash__(self) -> int:
        return hash(self.origin)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError(f"a secret is not stored; keep what says where it comes from: {self.origin}")
