"""Sending by HTTP, to real servers that answer well, badly, slowly, elsewhere, or not at all."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from email.utils import formatdate

import pytest
import trustme
from receiver import Receiver, status

from streamkl.adapters.http_sender import ANSWER_BYTES_MAX, RETRY_AFTER_MAX_SECONDS, HttpSender
from streamkl.adapters.public_address import addresses, is_public
from streamkl.errors import ConfigError, RecordError, Unavailable
from streamkl.service.web_url import web_url


def sender(receiver, path="/hook", **settings):
    return HttpSender(receiver.url + path, timeout_seconds=settings.pop("timeout_seconds", 5.0), **settings)


def refusal(receiver, **settings):
    """What a post to a receiver raises."""
    with pytest.raises((RecordError, Unavailable)) as caught:
        sender(receiver, **settings).post(b"{}", {})
    return caught.value


# ---------------------------------------------------------------- what an answer means


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_every_2xx_is_fine(code):
    with Receiver(status(code)) as receiver:
        sender(receiver).post(b'{"a": 1}', {"X-One": "1"})
        (request,) = receiver.requests
    assert (request.method, request.target, request.body) == ("POST", "/hook", b'{"a": 1}')
    assert request.headers["x-one"] == "1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("code", [300, 303, 400, 401, 403, 404, 405, 409, 410, 413, 422])
def test_what_the_receiver_refuses_is_never_sent_again(code):
    with Receiver(status(code, b"no such\x1b[31m thing")) as receiver:
        error = refusal(receiver)
    assert isinstance(error, RecordError)
    assert str(error) == f"{receiver.url} answers {code}: no such [31m thing; it is not tried again, correct what is sent, or where to"


@pytest.mark.parametrize("code", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_what_the_receiver_cannot_take_now_is_sent_again(code):
    with Receiver(status(code)) as receiver:
        error = refusal(receiver)
        assert len(receiver.requests) == 1          # not by the sender: whoever retries knows the pauses
    assert isinstance(error, Unavailable)
    assert str(error) == f"{receiver.url} answers {code}"
    assert error.retry_after_seconds is None


@pytest.mark.parametrize(("text", "least", "most"), [
    ("7", 7, 7), ("0", 0, 0), ("999999999999", RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_MAX_SECONDS),
    ("in a minute", 50, 61), (formatdate(0, usegmt=True), 0, 0),
])  # fmt: skip
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_told_within_bounds(code, text, least, most):
    text = formatdate(time.time() + 60, usegmt=True) if text == "in a minute" else text
    with Receiver(status(code, Retry_After=text)) as receiver:
        error = refusal(receiver)
    assert least <= error.retry_after_seconds <= most


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e3", "", "\u00b2"])
def test_a_retry_after_that_cannot_be_read_says_nothing(text):
    with Receiver(status(429, Retry_After=text)) as receiver:
        assert refusal(receiver).retry_after_seconds in (None, 0.0)


def test_a_secret_goes_to_the_configured_origin_and_into_no_error():
    def echo(connection):
        connection.sendall(status(401, b"you are Bearer hunter2, of /hook?token=xyz: hunter2"))

    with Receiver(echo) as receiver:
        error = refusal(receiver, path="/hook?token=xyz", secrets={"Authorization": "Bearer hunter2"})
        assert receiver.requests[0].headers["authorization"] == "Bearer hunter2"
    assert "hunter2" not in str(error)
    assert "xyz" not in str(error)
    assert "you are ***, of ***: ***" in str(error)


# ---------------------------------------------------------------- receivers that fail


def test_nobody_there_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match=rf"^http://127\.0\.0\.1:{port}: Connection refused$"):
        HttpSender(f"http://127.0.0.1:{port}/hook?token=xyz").post(b"", {})


def test_a_name_that_nobody_has_is_unavailable():
    with pytest.raises(Unavailable, match=r"no address of nobody\.invalid"):
        HttpSender("http://nobody.invalid/").post(b"", {})


def test_a_receiver_that_never_answers_is_left_at_the_deadline():
    with Receiver(lambda connection: connection.recv(1)) as receiver:
        began = time.monotonic()
        error = refusal(receiver, timeout_seconds=0.5)
        assert 0.4 < time.monotonic() - began < 2
    assert isinstance(error, Unavailable)
    assert "no answer within 0.5 s" in str(error)


@pytest.mark.parametrize("part", ["head", "header lines", "handshake"])
def test_a_receiver_that_drips_is_left_at_the_deadline(part):
    """Each byte comes well within any timeout of a single read."""
    drops = {"head": b"H", "header lines": b"X-A: b\r\n", "handshake": b"\0"}[part]

    def drip(connection):
        connection.sendall({"header lines": b"HTTP/1.1 200 Fine\r\n", "handshake": b"\x16\x03\x03\x3f\xff"}.get(part, b""))
        for _ in range(200):
            connection.sendall(drops)
            time.sleep(0.1)

    receiver = Receiver(drip) if part != "handshake" else Dripper(drip)
    with receiver:
        url = receiver.url if part != "handshake" else f"https://127.0.0.1:{receiver.port}"
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within 1 s"):
            HttpSender(url, timeout_seconds=1.0).post(b"{}", {})
        assert 0.9 < time.monotonic() - began < 2.5


class Dripper(Receiver):
    """Speaks before it is spoken to."""

    def _answer(self, connection):
        self.answers[0](connection)


def test_an_accepted_event_is_fine_however_its_answer_ends():
    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 Fine\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b".")
            time.sleep(0.1)

    with Receiver(drip) as receiver:
        began = time.monotonic()
        sender(receiver, timeout_seconds=0.6).post(b"{}", {})
        assert time.monotonic() - began < 2
    with Receiver(b"HTTP/1.1 200 Fine\r\nContent-Length: 1000\r\n\r\nhalf") as receiver:
        sender(receiver).post(b"{}", {})


@pytest.mark.parametrize("half", [
    b"", b"HTTP/1.1 20", b"HTTP/1.1 200 Fine\r\nContent-Le", b"HTTP/1.1 200 Fine\r\n", b"\x00\xff\r\n\r\n", b"HTTP/1.1 2OO Fine\r\n\r\n",
])  # fmt: skip
def test_half_an_answer_or_garbage_is_unavailable(half):
    with Receiver(half) as receiver:
        error = refusal(receiver)
    assert isinstance(error, Unavailable)


def test_a_huge_answer_is_read_up_to_a_bound():
    sent = []

    def flood(connection):
        connection.sendall(b"HTTP/1.1 500 Words\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                sent.append(connection.send(b"x" * 65_536))
        except OSError:
            pass

    with Receiver(flood) as receiver:
        began = time.monotonic()
        error = refusal(receiver, timeout_seconds=20.0)
        assert time.monotonic() - began < 10
    assert len(str(error)) < 400
    assert sum(sent) < 50 * ANSWER_BYTES_MAX             # what the buffers of the system took


def test_a_header_that_cannot_be_read_changes_nothing_and_puts_no_url_into_a_log(caplog):
    with Receiver(b"HTTP/1.1 200 Fine\r\nno header at all\r\nContent-Length: 0\r\n\r\n") as receiver:
        sender(receiver, path="/hook?token=xyz").post(b"{}", {})
    assert "xyz" not in caplog.text


def test_headers_without_end_are_unavailable():
    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 Fine\r\nX-Long: ")
        for _ in range(100):
            connection.sendall(b"x" * 65_536)

    with Receiver(flood) as receiver:
        assert isinstance(refusal(receiver), Unavailable)


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def served(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def test_a_certificate_of_the_right_host_and_authority_is_taken(authority, ca_file):
    with Receiver(tls=served(authority, "localhost", "127.0.0.1")) as receiver:
        sender(receiver, ca_file=ca_file).post(b"{}", {})
        HttpSender(f"https://localhost:{receiver.port}/", ca_file=ca_file).post(b"{}", {})
        assert [request.headers["host"] for request in receiver.requests] == [f"127.0.0.1:{receiver.port}", f"localhost:{receiver.port}"]


@pytest.mark.parametrize(("names", "is_known"), [(("other.example",), True), (("127.0.0.1",), False)])
def test_a_wrong_certificate_is_refused_and_nothing_is_sent(authority, ca_file, names, is_known):
    with Receiver(tls=served(authority, *names)) as receiver:
        error = refusal(receiver, ca_file=ca_file if is_known else None)
        assert receiver.requests == []
    assert isinstance(error, Unavailable)
    assert "its certificate is refused" in str(error)


def test_a_receiver_without_tls_is_unavailable():
    with Dripper(lambda connection: connection.sendall(status(400))) as receiver, pytest.raises(Unavailable, match="no TLS with it"):
        HttpSender(f"https://127.0.0.1:{receiver.port}/", timeout_seconds=3).post(b"{}", {})


def test_an_authority_that_is_no_pem_file_is_refused_at_once(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=r"ca_file=.* cannot be used"):
            HttpSender("https://example.com", ca_file=str(path))


# ---------------------------------------------------------------- redirects


def allowing(address):
    """Stand-in for the public internet, which a test cannot reach: 127.0.0.2 is public here."""
    return address == "127.0.0.2"


def redirected(to, code=307):
    return status(code, Location=to)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_to_a_public_address_is_followed_with_the_same_body_and_without_secrets(code):
    with Receiver(host="127.0.0.2") as there, Receiver(redirected(f"{there.url}/there?x=1", code)) as here:
        sender(here, is_public=allowing, secrets={"Authorization": "Bearer hunter2"}).post(b'{"a": 1}', {"webhook-id": "7"})
        (first,), (second,) = here.requests, there.requests
    assert (second.method, second.target, second.body, second.headers["webhook-id"]) == ("POST", "/there?x=1", b'{"a": 1}', "7")
    assert second.headers["host"] == f"127.0.0.2:{there.port}"
    assert first.headers["authorization"] == "Bearer hunter2"
    assert "authorization" not in second.headers


LOOPBACK = ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_redirect_to_this_machine_is_refused_however_it_is_written(host):
    with Receiver(status(200)) as inside, Receiver(redirected(f"http://{host}:{inside.port}/")) as here:
        error = refusal(here)
        assert inside.requests == []
    assert isinstance(error, RecordError)
    assert "an address that is not public" in str(error)


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1",
                                  "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "[fe80::1]", "[fd00::1]", "[::]", "[ff02::1]",
                                  "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[::127.0.0.1]", "[fec0::1]"])  # fmt: skip
def test_a_redirect_to_an_address_that_is_not_public_is_refused_at_once(host):
    with Receiver(redirected(f"http://{host}/latest/meta-data")) as here:
        began = time.monotonic()
        error = refusal(here)
        assert time.monotonic() - began < 2            # nothing was connected to
    assert isinstance(error, RecordError)
    assert "an address that is not public" in str(error)
    assert "meta-data" not in str(error)


def test_a_redirect_within_the_configured_private_host_is_refused_too():
    """Its name may be answered differently the second time, and the path is no longer the operator's."""
    with Receiver(redirected("/other")) as here:
        error = refusal(here)
        assert len(here.requests) == 1
    assert isinstance(error, RecordError)


def test_a_host_of_which_one_address_is_private_is_refused():
    with Receiver(redirected("http://two.example:80/")) as here:
        def resolve(host, port, seconds):
            return ["127.0.0.1"] if host == "127.0.0.1" else ["127.0.0.2", "10.0.0.1"]

        error = refusal(here, is_public=allowing, resolve=resolve)
    assert isinstance(error, RecordError)
    assert "an address that is not public" in str(error)


def test_what_was_judged_is_what_is_connected_to():
    """A name that is answered by a public address first and by a private one afterwards: it is asked once, and only the first answer counts."""
    asked = []

    def resolve(host, port, seconds):
        asked.append(host)
        return {"127.0.0.1": ["127.0.0.1"], "rebinding.example": ["127.0.0.2" if asked.count("rebinding.example") == 1 else "127.0.0.1"]}[host]

    with Receiver(host="127.0.0.2") as there, Receiver(redirected(f"http://rebinding.example:{there.port}/")) as here:
        sender(here, is_public=allowing, resolve=resolve).post(b"{}", {})
        assert there.requests[0].headers["host"] == f"rebinding.example:{there.port}"
    assert asked == ["127.0.0.1", "rebinding.example"]


@pytest.mark.parametrize(("redirects", "is_fine"), [(3, True), (4, False)])
def test_redirects_are_followed_three_times_at_most(redirects, is_fine):
    with Receiver(*[redirected(f"/{number}") for number in range(redirects)], status(200), host="127.0.0.2") as receiver:
        if is_fine:
            sender(receiver, is_public=allowing).post(b"{}", {})
        else:
            assert "more than 3 times" in str(refusal(receiver, is_public=allowing))
        assert len(receiver.requests) == 4


def test_a_redirect_from_https_to_http_is_refused(authority, ca_file):
    with Receiver(host="127.0.0.2") as there, Receiver(redirected(there.url), tls=served(authority, "127.0.0.1")) as here:
        error = refusal(here, is_public=allowing, ca_file=ca_file)
        assert there.requests == []
    assert isinstance(error, RecordError)
    assert "from https to http" in str(error)


@pytest.mark.parametrize("to", ["ftp://127.0.0.2/", "file:///etc/passwd", "http://user:pass@127.0.0.2/", "http://", "gopher:x", "http://a b/"])
def test_a_redirect_to_what_is_no_url_of_http_is_refused(to):
    with Receiver(redirected(to)) as here:
        error = refusal(here, is_public=allowing)
    assert isinstance(error, RecordError)
    assert "pass" not in str(error)


def test_all_redirects_share_one_deadline():
    def slowly(connection):
        time.sleep(0.4)
        connection.sendall(redirected("/again"))

    with Receiver(slowly, host="127.0.0.2") as receiver:
        began = time.monotonic()
        error = refusal(receiver, is_public=allowing, timeout_seconds=0.7)
        assert time.monotonic() - began < 1.5
    assert isinstance(error, Unavailable)


# ---------------------------------------------------------------- addresses and URLs


def test_ours_is_as_strict_as_the_registries_of_private_and_special_addresses():
    special = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16",
               "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "100::/64", "2001:db8::/32",
               "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"]  # fmt: skip
    for text in special:
        network = ipaddress.ip_network(text)
        assert not is_public(str(network[0])), text
        assert not is_public(str(network[-1])), text
    for address in ("1.1.1.1", "9.255.255.255", "11.0.0.0", "172.32.0.0", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"):
        assert is_public(address), address


def test_a_resolver_that_hangs_is_left_at_the_deadline():
    is_over = threading.Event()

    def hang(*_, **__):
        is_over.wait(10)
        return []

    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0\.2 s"):
        addresses("slow.example", 80, 0.2, look_up=hang)
    assert time.monotonic() - began < 2
    is_over.set()


@pytest.mark.parametrize("text", [
    "", "example.com", "ftp://example.com", "http://", "http:///x", "http://a b/", "http://a\\b/", "http://a/\n", "http://ä/", "http://a:0/",
    "http://a:65536/", "http://a/#x", "http://u:hunter2@a/", "http://[::1", "//a", "http://a/" + "x" * 5000,
])  # fmt: skip
def test_a_url_that_is_none_is_refused_and_not_repeated(text):
    with pytest.raises(ConfigError) as caught:
        web_url(text)
    assert "hunter2" not in str(caught.value)
