"""The chat corrector: sentences that a person understands, in which nobody's data is markup. CommonMark is read by markdown-it."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from receiver import RAISED, Receiver, event, status

from streamkl.adapters.chat import Chat, quoted, text_of
from streamkl.errors import RecordError, Unavailable

EVIL = [
    "<!channel>", "<!here|x>", "<@U012AB3CD>", "<https://evil.example|click>", "@channel", "@all", "@here", "[click](https://evil.example)",
    "![x](https://evil.example/x.png)", "https://evil.example", "HTTP://evil.example", "www.evil.example", "evil.example", "mailto:a@evil.example",
    "`<!channel>`", "```\n<!channel>", "a`](https://evil.example)`", "&lt;!channel&gt;", "<a href='https://evil.example'>x</a>", "**bold** _it_ ~no~",
    "line\n\n# title", "\u202eelif", "javascript:alert(1)", "<img src=x>", "\\`[x](https://evil.example)", "//evil.example", "", " ", "`", "``",
]  # fmt: skip
DANGEROUS = re.compile(r"<|>|@\w|&\w|&#|://|\]\(|\bwww\.|mailto:|\w\.[a-z]", re.I)


def markup(text: str) -> set[str]:
    """The kinds of markup in a text that a reader of Markdown finds, but for code and plain text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    inline = [child for token in tokens for child in (token.children or [])]
    return {token.type for token in (*tokens, *inline)} - {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}


def test_the_reader_of_markdown_finds_what_we_fear():
    assert markup("[click](https://evil.example)") == {"link_open", "link_close"}
    assert "image" in markup("![x](https://evil.example)")
    assert "html_inline" in markup("a <b>")


def everywhere(text: str):
    """An event with a text in every place that others write."""
    changed = tuple(bin._replace(label=text) for bin in RAISED.changed)
    return event(stream=text, group=text, reason=text, by=text, changed=changed)


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("kind", ["drift.raised", "drift.resolved", "stream.silenced", "some.new_kind"])
def test_no_name_mentions_anybody_or_is_a_link_or_markup(kind, text):
    said = text_of(dataclasses.replace(everywhere(text), kind=kind))
    assert markup(said) == set()
    foreign = "".join(re.findall(r"`([^`]*)`", said))
    assert not DANGEROUS.search(foreign), foreign
    assert said.count("`") % 2 == 0
    assert "\n" not in said


@given(st.text(max_size=60))
@example("a" * 119 + "`[x](https://evil.example)")
def test_no_text_at_all_leaves_its_quotes(text):
    shown = quoted(text)
    assert re.fullmatch(r"`[^`]+`", shown)
    assert not DANGEROUS.search(shown)
    assert markup(f"Drift in {shown}: far away. {shown}") == set()


def test_a_plain_name_reads_as_it_is():
    for name in ("payments/EU/amount", "Zürich/50 %", "日本", "a-b_c d"):
        assert quoted(name) == f"`{name}`"


def test_a_name_with_dots_looks_as_it_is():
    assert quoted("payments.events/x").replace("\u2060", "") == "`payments.events/x`"


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "Drift in `payments/EU/amount` of `payments`: the last 150 values are 0.377 nats (KL) away from the reference, 0.361 would still be usual. "
         "Changed most: `(15, inf)` from 0.83% to 16.00%. (2025-10-09T08:53:20.000Z, episode 3)"),
    ({"kind": "drift.resolved", "group": ""}, "`payments/EU/amount` is back at its reference. (2025-10-09T08:53:20.000Z, episode 3)"),
    ({"kind": "reference.rebaselined", "group": "", "at": None, "by": "ann", "reason": "new prices"},
     "`payments/EU/amount` has a new reference, of 600 values. Asked by `ann`. Reason: `new prices`. (episode 3)"),
    ({"kind": "stream.silenced", "group": "", "at": None, "episode": 0}, "`payments/EU/amount` is silenced."),
    ({"criterion": (), "changed": (), "group": "", "at": None, "episode": 0},
     "Drift in `payments/EU/amount`: the last 500 values are 0.4 nats (KL) away from the reference."),
    ({"criterion": (), "changed": (), "divergence": {}, "group": "", "at": None, "episode": 0},
     "Drift in `payments/EU/amount`: its values are no longer those of its reference."),
])  # fmt: skip
def test_a_sentence_says_what_happened(changes, said):
    assert text_of(event(**changes)) == said


def test_the_channel_gets_one_text_and_the_url_never_shows(caplog):
    with Receiver(status(200, b"ok"), status(404, b"no_service: /hooks/hunter2"), status(500)) as receiver:
        chat = Chat(receiver.url + "/hooks/hunter2")
        chat(RAISED)
        (request,) = receiver.requests
        assert request.target == "/hooks/hunter2"
        assert json.loads(request.body) == {"text": text_of(RAISED)}
        texts = [repr(chat), caplog.text]
        for kind in (RecordError, Unavailable):
            with pytest.raises(kind) as caught:
                chat(RAISED)
            texts.append(str(caught.value))
    assert not any("hunter2" in text for text in texts)
