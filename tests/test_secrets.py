"""A secret is used and never shown: canaries are put wherever a password may stand, and looked for wherever something is said.

What a person puts where another setting belongs (an application called like a password) is that setting, and may be shown.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import socket
import subprocess
import traceback

import pytest
from configured import KAFKA, changed, loaded, write
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from program import COMMAND

from streamkl.adapters.kafka_client import client_settings, connected
from streamkl.app.build import security_of
from streamkl.app.config import Config, json_schema, load
from streamkl.app.config_fault import PRIVATE_KEYS
from streamkl.app.config_source import Security
from streamkl.app.summary import summary
from streamkl.errors import ConfigError, Unavailable
from streamkl.service.secret import HiddenText, Secret

CANARY = "C4nary-7x"
OTHER = "C4nary-8y"


def secured(folder, **more):
    (folder / "password").write_text(OTHER + "\n")
    (folder / "key.pem").write_text("")
    files = {"certificate_file": str(folder / "key.pem"), "key_file": str(folder / "key.pem"), "key_password": {"file": str(folder / "password")}}
    security = {"protocol": "sasl_ssl", "mechanism": "PLAIN", "username": "ann", "password": {"env": "PASSWORD"}, **files}
    return changed(KAFKA, {"source.security": security, **more})


def config_of(folder, **more):
    return loaded(folder, secured(folder, **more), {"PASSWORD": CANARY})


def is_silent(*texts):
    return not [text for text in texts if "C4nary" in text or "4nary" in text]


# ---------------------------------------------------------------- a right configuration


def test_a_secret_is_there_for_the_one_who_needs_it(tmp_path):
    security = config_of(tmp_path).source.security
    assert (security.password.reveal(), security.key_password.reveal()) == (CANARY, OTHER)
    settings = client_settings(["a:1"], security_of(config_of(tmp_path).source))
    assert (settings["sasl_plain_password"], settings["ssl_password"]) == (CANARY, OTHER)
    assert "".join([settings["sasl_plain_password"]]).encode() == CANARY.encode()


def test_no_way_to_show_a_configuration_shows_a_secret(tmp_path):
    config = config_of(tmp_path)
    security = config.source.security
    parts = (config, config.source, security, security.password, security.key_password, copy.copy(config), copy.deepcopy(config), config.model_copy())
    assert is_silent(*(show(part) for part in parts for show in (repr, str, "{}".format, lambda part: f"{part} {part!r}")))
    assert is_silent(config.model_dump_json(), str(config.model_dump()), json.dumps(config.model_dump(mode="json")))
    assert is_silent(str(vars(security)), str(dict(security)))
    assert is_silent(summary("c.yaml", config), repr(security_of(config.source)), str(client_settings(["a:1"], security_of(config.source))))
    assert is_silent(json.dumps(json_schema()))


def test_a_configuration_with_a_secret_is_not_stored(tmp_path):
    config = config_of(tmp_path)
    for part in (config, config.source.security.password, config.source.security.password.reveal()):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError) as caught:
                pickle.dumps(part, protocol)
            assert is_silent(str(caught.value))


def test_the_summary_says_where_a_secret_comes_from(tmp_path):
    assert "password from the environment variable PASSWORD" in summary("c.yaml", config_of(tmp_path))


def test_equal_secrets_are_equal_and_others_are_not():
    assert Secret("a", "x") == Secret("a", "y")
    assert Secret("a", "x") != Secret("b", "x")
    assert repr({"p": HiddenText("a")}) == "{'p': <secret>}"


def test_the_line_feed_at_the_end_of_a_file_is_no_part_of_a_secret(tmp_path):
    (tmp_path / "p").write_bytes(b" a b \r\n")
    security = {"protocol": "sasl_ssl", "mechanism": "PLAIN", "username": "u", "password": {"file": str(tmp_path / "p")}}
    assert loaded(tmp_path, changed(KAFKA, {"source.security": security})).source.security.password.reveal() == " a b "


@pytest.mark.parametrize("client", [KafkaAdminClient, KafkaConsumer, KafkaProducer])
def test_the_client_logs_no_secret_when_it_starts(tmp_path, caplog, client):
    """The library logs its whole configuration at level debug."""
    source = config_of(tmp_path, **{"source.security": {
        "protocol": "sasl_plaintext", "mechanism": "SCRAM-SHA-256", "username": "ann", "password": {"env": "PASSWORD"},
    }}).source  # fmt: skip
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = client_settings([f"127.0.0.1:{unused.getsockname()[1]}"], security_of(source))
        with caplog.at_level(logging.DEBUG), pytest.raises(Unavailable) as caught:
            connected(client, {**settings, "bootstrap_timeout_ms": 300})
    assert caplog.records
    assert is_silent(caplog.text, "".join(traceback.format_exception(caught.value)))


# ---------------------------------------------------------------- a wrong one


LITERALS = {
    "text": f"password: {CANARY}",
    "quoted": f"password: '{CANARY}'",
    "open quote": f"password: '{CANARY}",
    "list": f"password: [{CANARY}]",
    "key": f"password: {{{CANARY}: x}}",
    "set": f"password: {{{CANARY}}}",
    "both": f"password: {{env: PASSWORD, file: {CANARY}}}",
    "bad name": f"password: {{env: {CANARY}}}",
    "number": "password: 4444",
    "value": f"password: {{env: [{CANARY}]}}",
    "deep": f"password: {{env: {{x: {CANARY}}}}}",
    "alias": f"password: *{CANARY}",
    "anchor": f"password: &{CANARY} &{CANARY} x",
    "tag": f"password: !{CANARY} x",
    "tag handle": f"password: !{CANARY}!x x",
    "verbatim tag": f"password: !<{CANARY}> {{env: PASSWORD}}",
    "colon": f"password: {CANARY}: x",
    "percent": f"password: %{CANARY}",
    "at": f"password: @{CANARY}",
    "no blank": f"password:{CANARY}",
    "no blank, flow": f"x: {{password:{CANARY}}}",
    "block": f"password: |-{CANARY}",
    "escape": f'password: "\\{CANARY}"',
    "tab": f"password:\n\t{CANARY}",
    "twice": f"password: {{env: PASSWORD}}\n    password: {CANARY}",
    "user": f"username: [{CANARY}]",
    "protocol": f"protocol: {CANARY}",
    "mechanism": f"mechanism: {CANARY}",
    "misspelt": f"pasword: {CANARY}",
    "unknown": f"{CANARY}: x",
    "truth": f"check_hostname: {CANARY}",
    "key password": f"key_password: {CANARY}",
    "merge": f"<<: {CANARY}",
    "control": f"password: {CANARY}\x07",
    "comment": f"password: [ # {CANARY}",
    "merged": f"{CANARY}\n    password: {{env: PASSWORD}}",
    "complex": f"? [{CANARY}]\n    : x",
    "twice unknown": f"{CANARY}: 1\n    {CANARY}: 2",
}
TEXT = """application: a
source:
  kind: kafka
  bootstrap_servers: [a:1]
  security:
    {}
streams: [{{topic: t, fields: {{x: numeric}}}}]
"""


def refusal(folder, text, environment=None):
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environment or {"PASSWORD": CANARY})
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    return "".join([str(error), repr(error), *traceback.format_exception(error)])


@pytest.mark.parametrize("literal", LITERALS.values(), ids=LITERALS)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path, literal):
    assert is_silent(refusal(tmp_path, TEXT.format(literal)))


@pytest.mark.parametrize("path", ["password", "passwd", "source.password", "source.sasl_password", "streams.0.password", "state.secret"])
def test_a_secret_under_an_unknown_key_is_not_repeated(tmp_path, path):
    assert is_silent(refusal(tmp_path, changed(KAFKA, {path: CANARY})))


@pytest.mark.parametrize("server", [f"ann:{CANARY}@broker:9092", f"sasl://ann:{CANARY}@broker:9092", CANARY])
def test_a_secret_in_the_address_of_a_broker_is_not_repeated(tmp_path, server):
    assert is_silent(refusal(tmp_path, changed(KAFKA, {"source.bootstrap_servers": [server]})))


@pytest.mark.parametrize("variable", ["SOURCE__SECURITY__PASSWORD", "SOURCE__SECURITY", "SOURCE", "SOURCE__PASSWORD", "PASSWORD"])
@pytest.mark.parametrize("value", ["{}", "[{}", "{{password: {}}}", "{{password: {}", "'{}"])
def test_a_secret_in_a_variable_that_overrides_is_refused_and_not_repeated(tmp_path, variable, value):
    assert is_silent(refusal(tmp_path, KAFKA, {f"STREAMKL__{variable}": value.replace("{}", CANARY).replace("{{", "{").replace("}}", "}")}))


def test_the_other_faults_of_a_configuration_do_not_show_its_secrets(tmp_path):
    (tmp_path / "two lines").write_text(f"{CANARY}\n{CANARY}\n")
    for more in ({"grup": 1}, {"source.security.mechanism": "MD5"}, {"source.security.ca_file": "/nowhere"}, {"detector": {"warmup": 1}},
                 {"source.security.password": {"file": str(tmp_path / "two lines")}}):  # fmt: skip
        assert is_silent(refusal(tmp_path, secured(tmp_path, **more)))


def test_what_pydantic_itself_says_holds_no_input(tmp_path):
    with pytest.raises(ValueError, match="validation error") as caught:
        Config.model_validate(changed(KAFKA, {"source.security": {"password": CANARY, "username": [CANARY], CANARY[:0] + "x": CANARY}}))
    assert is_silent(str(caught.value), repr(caught.value))


def test_the_keys_below_security_are_all_known():
    assert set(Security.model_fields) | {"env", "file"} == set(PRIVATE_KEYS)


# ---------------------------------------------------------------- the program


def program(*arguments, **environment):
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, timeout=120, env={**os.environ, **environment})
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_the_program_says_no_secret(tmp_path):
    path = write(tmp_path, secured(tmp_path))
    for arguments in ((path,), (path, "--schema")):
        code, said = program("check", *arguments, PASSWORD=CANARY)
        assert code == 0
        assert is_silent(said)
    code, said = program("check", path, PASSWORD=CANARY, STREAMKL__GRUP=CANARY, STREAMKL__SOURCE__SECURITY__PASSWORD=CANARY)
    assert code == 2
    assert is_silent(said)


def test_the_program_says_no_secret_where_the_broker_is_away(tmp_path):
    plain = {"protocol": "sasl_plaintext", "mechanism": "PLAIN", "username": "ann", "password": {"env": "PASSWORD"}}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        servers = [f"127.0.0.1:{unused.getsockname()[1]}"]
        path = write(tmp_path, changed(KAFKA, {"source.security": plain, "source.bootstrap_servers": servers}))
        code, said = program("check", path, "--connect", PASSWORD=CANARY)
    assert code == 4
    assert is_silent(said)
