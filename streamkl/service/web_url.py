"""Web URL: an address of HTTP that an operator, or a redirect, names.

Rule 1: it is taken strictly: printable ASCII, http or https, a host, no user and password; what browsers mend is refused.
Rule 2: path and query may be a secret of their own, so a text for people shows scheme, host and port alone.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urljoin

from streamkl.errors import ConfigError

FORM: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-zA-Z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?(?P<target>[/?][!$-\[\]-~]*)?", re.I
)
PORTS: Final = {"http": 80, "https": 443}
LENGTH_MAX: Final = 4000


class WebUrl(NamedTuple):
    """A URL in parts. host: without brackets, in lower case. target: path and query, as they are sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown, and what a secret is sent to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")

    def below(self, path: str) -> WebUrl:
        """Return the URL of a path below this one, without its query."""
        return self._replace(target=self.target.partition("?")[0].rstrip("/") + path)

    def redirect(self, location: str) -> WebUrl:
        """Return where a redirect from here leads. Raises ConfigError for what is no URL of HTTP."""
        return web_url(urljoin(self.origin + self.target, location.partition("#")[0]))


def web_url(text: str) -> WebUrl:
    """Return a URL. Raises ConfigError, which does not repeat it: it may hold a secret.

    >>> web_url("https://Hooks.example:8443/in?x=1")
    WebUrl(scheme='https', host='hooks.example', port=8443, target='/in?x=1')
    >>> web_url("https://hooks.example:443").origin
    'https://hooks.example'
    """
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ConfigError("user and password are no part of a URL; give them where secrets stand")
    match = FORM.fullmatch(text) if len(text) <= LENGTH_MAX else None
    port = int(match["port"] or PORTS[match["scheme"].lower()]) if match else 0
    if match is None or not 0 < port < 65_536:
        raise ConfigError("must be http://HOST[:PORT]/PATH or https://..., in ASCII, without spaces and # (a host with other letters: in punycode)")
    target = match["target"] or "/"
    return WebUrl(match["scheme"].lower(), match["host"].strip("[]").lower(), port, target if target.startswith("/") else f"/{target}")
