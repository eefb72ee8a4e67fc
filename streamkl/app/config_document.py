"""Document: the text of a YAML file -> plain values, and the line of each.

Rule 1: YAML 1.2's core rules: only true and false are truth values, `on`, `no` and `12:30` are text, 0123 is 123; keys are always text.
Rule 2: what surprises is refused: keys twice, tags, merge keys, aliases that multiply.
Rule 3: an error never quotes the text: it may hold a secret.
"""

from __future__ import annotations

import os
import re
import stat

import yaml

from streamkl.app.config_fault import Fault, Faults, Origin, Origins, Path, refuse, shown
from streamkl.errors import ConfigError

DOCUMENT_BYTES_MAX = 1_000_000
NODES_MAX = 100_000
NO_TAG = "tags are not taken; leave the ! away, or put the text into quotes"
DIGITS_MAX = 30

_TAG = "tag:yaml.org,2002:"
_CORE = {
    "null": (re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(rf"^[-+]?[0-9][0-9_]{{0,{DIGITS_MAX}}}$"), list("-+0123456789")),
    "float": (
        re.compile(r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]{1,3})?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - the library's


for _name, (_pattern, _first) in _CORE.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)


class Document:
    """A configuration as it was written. tree: mapping of text keys; origins: where each part stands; faults: what was refused so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tree: dict[str, object] = {}
        self.origins = Origins()
        self.faults: list[Fault] = []
        self._nodes = 0

    @classmethod
    def of(cls, path: str) -> Document:
        """Return the document of a file. Raises ConfigError, in one line, where there is none or it is not YAML."""
        return cls(path)._read(_text(path))

    @classmethod
    def value_of(cls, text: str) -> object:
        """Return the value of a text in YAML. Raises ConfigError where it is none."""
        document = cls("")
        node = _composed("", text)
        value = None if node is None else document._value(node, ())
        if document.faults:
            raise ConfigError(document.faults[0].sentence)
        return value

    def _read(self, text: str) -> Document:
        root = _composed(self.name, text)
        if root is None:
            raise ConfigError(f"{shown(self.name)}: is empty; begin with: application: NAME")
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{shown(self.name)}: is not a mapping of settings; begin with: application: NAME")
        try:
            self.tree = self._mapping(root, ())
        except RecursionError:
            raise ConfigError(f"{shown(self.name)}: is nested too deeply, or within itself; write it flat") from None
        return self

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise ConfigError(f"{shown(self.name)}: has more than {NODES_MAX:,} parts, aliases written out; write it shorter")
        self.origins.setdefault(path, Origin(node.start_mark.line + 1))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != f"{_TAG}seq":
                self._refuse(path, NO_TAG)
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        if node.tag != f"{_TAG}map":
            self._refuse(path, NO_TAG)
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(path, "a list or a mapping is used as a key; put the key into quotes")
                continue
            key = str(key_node.value)
            place = (*path, key)
            if key == "<<":
                self._refuse(path, "the merge key << is not taken; settings for all streams stand once, under detector")
            elif key in found:
                first = self.origins[place].line
                self._refuse(place, f"this key stands here twice, in lines {first} and {key_node.start_mark.line + 1}; remove one")
            else:
                self.origins[place] = Origin(key_node.start_mark.line + 1)
                found[key] = self._value(value_node, place)
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        name, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if name not in (*_CORE, "str") or (name in _CORE and not _CORE[name][0].match(text)):
            if node.tag != "!":
                self._refuse(path, NO_TAG)
            return text
        return plain(text) if name in _CORE else text

    def _refuse(self, path: Path, sentence: str) -> None:
        self.faults.append(Fault(path, sentence))


def plain(text: str) -> object:
    """Return what a text without quotes means.

    >>> [plain(text) for text in ("no", "true", "0123", "1e3", "1_000", "~", "12:30")]
    ['no', True, 123, 1000.0, 1000, None, '12:30']
    """
    if _CORE["null"][0].match(text):
        return None
    if _CORE["bool"][0].match(text):
        return text.lower() == "true"
    if _CORE["int"][0].match(text):
        return int(text.replace("_", ""))
    if _CORE["float"][0].match(text):
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _text(path: str) -> str:
    name = shown(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{name}: is no file; give the path of a YAML file")
            content = file.read(DOCUMENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the path holds a zero byte"
        raise ConfigError(f"{name}: cannot be read: {reason}; give the path of a YAML file") from None
    if len(content) > DOCUMENT_BYTES_MAX:
        raise ConfigError(f"{name}: is longer than {DOCUMENT_BYTES_MAX:,} bytes, that is no configuration; give the path of a YAML file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: is not UTF-8; convert it, e.g.: iconv -f LATIN1 -t UTF-8") from None


def _composed(name: str, text: str) -> yaml.Node | None:
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.YAMLError as error:
        fault: ConfigError = _syntax(name, text, error)
    except RecursionError:
        fault = ConfigError(f"{shown(name)}: is nested too deeply; write it flat")
    finally:
        if loader is not None:
            loader.dispose()
    raise fault


def _syntax(name: str, text: str, error: yaml.YAMLError) -> Faults:
    """Return a syntax error in one line, without what it quotes of the file."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        sentence = "a control character; remove it"
    else:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        problem = str(getattr(error, "problem", None) or "not understood")
        is_tab = r"'\t'" in problem
        problem = re.sub(r"'[^'<]{2,}'|\"[^\"]{2,}\"", "...", problem)
        sentence = f"is not YAML: {problem}; correct the line, or the one before it"
        if is_tab:
            sentence = "a tab begins the text; YAML is indented with spaces"
    return refuse(name, Origins({(): Origin(line)}), [Fault((), sentence)])
