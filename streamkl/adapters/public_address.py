"""Public address: a host's addresses, and whether one of them is everybody's.

Rule 1: what is connected to is an address that was judged here, never the name once more: a name may be answered differently the next time.
Rule 2: an address inside another one (IPv4 in IPv6) is judged as well, and so is every way to write one: the system reads the host, not we.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from streamkl.errors import Unavailable

NAT64: Final = IPv6Network("64:ff9b::/96")


def addresses(host: str, port: int, seconds: float, look_up: Callable[..., Sequence[Any]] = socket.getaddrinfo) -> list[str]:
    """Return the addresses of a host, in the order in which they should be tried, within so many seconds. Raises Unavailable.

    look_up: the system's resolver, or what answers as it does.
    """
    found: list[str] = []
    reason = [f"no answer within {seconds:.3g} s"]

    def ask() -> None:  # the system's resolver knows no deadline, so it is left alone when time is over
        try:
            found.extend(dict.fromkeys(str(answer[4][0]) for answer in look_up(host, port, type=socket.SOCK_STREAM)))
            reason[0] = "it has none"
        except (OSError, UnicodeError) as error:
            reason[0] = getattr(error, "strerror", None) or "its name cannot be asked for"

    asking = threading.Thread(target=ask, name=f"resolve {host}", daemon=True)
    asking.start()
    asking.join(seconds)
    if asking.is_alive() or not found:
        raise Unavailable(f"no address of {host}: {reason[0]}")
    return found


def is_public(address: str) -> bool:
    """Return whether an address, as `addresses` gives it, is one of the whole internet: not private, loopback, link-local, multicast or reserved.

    >>> [is_public(one) for one in ("1.1.1.1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "fe80::1%eth0")]
    [True, False, False, False, False]
    """
    read = ip_address(address.partition("%")[0])
    if isinstance(read, IPv4Address):
        return read.is_global and not (read.is_multicast or read.is_reserved)
    if (within := _within(read)) is not None:
        return is_public(str(within))
    return read.is_global and not (read.is_multicast or read.is_reserved or read.is_site_local)


def _within(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end at."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
