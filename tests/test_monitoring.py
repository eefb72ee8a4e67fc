"""The server of /metrics, /live and /ready, asked over HTTP."""

from __future__ import annotations

import http.client
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamkl.adapters.prometheus import MetricsServer, PrometheusMeter
from streamkl.errors import ConfigError
from streamkl.service.health import Health
from streamkl.service.metrics import METRICS


class Loop:
    """A loop and its clock, both set by hand."""

    now = turned_at = 0.0
    is_ready = False


@pytest.fixture
def served():
    loop, meter = Loop(), PrometheusMeter()
    server = MetricsServer(meter, Health(loop, 60.0, lambda: loop.now), port=0)
    yield server, meter, loop
    server.close()


def get(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), dict(answer.getheaders())
    connection.close()
    return found


def test_it_is_live_from_the_start_and_ready_once_it_is_restored_and_polls(served):
    server, _, loop = served
    assert get(server, "/live")[:2] == (200, "live\n")
    assert get(server, "/ready")[:2] == (503, "not ready: restoring, or not polling yet\n")
    loop.is_ready = True
    assert get(server, "/ready")[:2] == (200, "ready\n")


def test_a_loop_that_does_not_move_is_neither_live_nor_ready_until_it_moves_again(served):
    server, _, loop = served
    loop.is_ready = True
    loop.now = 60.0
    assert get(server, "/live")[0] == get(server, "/ready")[0] == 200
    loop.now = 61.0
    assert get(server, "/live")[:2] == (503, "not live: the loop has not moved for 61 s\n")
    assert get(server, "/ready")[:2] == (503, "not ready: the loop has not moved for 61 s\n")
    loop.turned_at = 61.0
    assert get(server, "/live")[0] == get(server, "/ready")[0] == 200


def test_metrics_are_what_prometheus_reads_and_nothing_that_is_not_declared(served):
    server, meter, _ = served
    hostile = 'a"b\\c\nd'
    meter.count("streamkl_records_total", 3)
    meter.gauge("streamkl_divergence_nats", 0.25, stream=hostile, measure="kl")
    status, text, headers = get(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
    assert families["streamkl_records"].samples[0].value == 3
    (sample,) = families["streamkl_divergence_nats"].samples
    assert (sample.labels, sample.value) == ({"stream": hostile, "measure": "kl"}, 0.25)


def test_openmetrics_is_given_to_who_asks_for_it(served):
    assert get(served[0], "/metrics", Accept="application/openmetrics-text; version=1.0.0")[1].endswith("# EOF\n")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("POST", "/metrics", 501), ("GET", "/live?x", 200)])
def test_other_paths_are_not_found_and_nothing_can_be_sent(served, method, path, status):
    answered, _, headers = get(served[0], path, method)
    assert answered == status
    assert headers["Server"].strip() == "streamkl"


def test_a_client_that_sends_nonsense_or_nothing_disturbs_nobody(served, capfd):
    server = served[0]
    with socket.create_connection(("127.0.0.1", server.port)) as silent, socket.create_connection(("127.0.0.1", server.port)) as rude:
        rude.sendall(b"\x00\xff\r\n\r\n")
        silent.sendall(b"GET /met")
        assert get(server, "/live")[0] == 200
    assert get(server, "/live")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_a_fault_of_the_configuration_that_names_the_setting(served):
    with pytest.raises(ConfigError, match=rf"monitoring: cannot listen on 127.0.0.1:{served[0].port}: Address already in use; .*monitoring.port"):
        MetricsServer(PrometheusMeter(), Health(Loop()), port=served[0].port)


@pytest.mark.parametrize(("host", "port"), [("256.1.1.1", 0), ("127.0.0.1", 70_000)])
def test_an_address_that_cannot_be_is_one_too(host, port):
    with pytest.raises(ConfigError, match="monitoring"):
        MetricsServer(PrometheusMeter(), Health(Loop()), host, port)


def test_a_closed_server_gives_its_port_back():
    first = MetricsServer(PrometheusMeter(), Health(Loop()), port=0)
    first.close()
    again = MetricsServer(PrometheusMeter(), Health(Loop()), port=first.port)
    assert get(again, "/metrics")[0] == 200
    again.close()


def test_a_metric_or_a_label_that_was_not_declared_is_refused():
    meter = PrometheusMeter()
    with pytest.raises(KeyError):
        meter.count("streamkl_guesses_total")
    with pytest.raises(ValueError, match="label"):
        meter.count("streamkl_drift_events_total", user="ann")
    with pytest.raises(KeyError):
        meter.forget("streamkl_divergence_nats", stream="x")
    meter.forget("streamkl_divergence_nats", stream="x", measure="kl")
