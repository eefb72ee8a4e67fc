"""Alert labels: what Alertmanager knows an alert by.

Rule: labels at the end of an episode are those at its beginning, so nothing of an event but its stream and group is one.
"""

from __future__ import annotations

import re
from typing import Final

OWN_LABELS: Final = ("alertname", "application", "group", "stream", "severity")
LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def label_fault(name: str) -> str:
    """Return why a name can be no further label; empty: it can.

    >>> label_fault("team"), label_fault("team-a")[:30]
    ('', 'must be letters, digits and _,')
    """
    if LABEL.fullmatch(name) and name not in OWN_LABELS:
        return ""
    return f"must be letters, digits and _, and none of {', '.join(OWN_LABELS)}; rename it"
