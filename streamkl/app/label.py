"""Label: foreign text made fit for one line of a terminal.

Rule: nothing that a file contains reaches the terminal unescaped: no control character, no direction mark, no half character.
"""

from __future__ import annotations

LABEL_LENGTH = 60
ELLIPSIS = "..."


def label(text: str, length: int = LABEL_LENGTH) -> str:
    r"""Return text on one line, its unprintable characters escaped, shortened in the middle to `length` characters.

    >>> print(label("\x1b[31mred\n"), label("a" * 50 + "b" * 50, 20))
    \x1b[31mred\n aaaaaaaaa...bbbbbbbb
    """
    if len(text) > 2 * length:  # escaping makes it only longer
        text = text[:length] + text[-length:]
        is_cut = True
    else:
        is_cut = False
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) <= length and not is_cut:
        return text
    kept = length - len(ELLIPSIS)
    return text[: kept - kept // 2] + ELLIPSIS + text[len(text) - kept // 2 :]
