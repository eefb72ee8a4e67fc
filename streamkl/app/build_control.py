"""Build control: who reads and who sends the commands of an application."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamkl.app import build
from streamkl.app.config_source import KafkaSource
from streamkl.app.event_place import event_place
from streamkl.errors import ConfigError
from streamkl.service.command import Command
from streamkl.service.ports import CommandSender, CommandSource

if TYPE_CHECKING:
    from streamkl.app.config import Config

SUFFIX = ".control"


def command_source(config: Config) -> CommandSource:
    """Return what the service reads commands from; a state file is there already."""
    if isinstance(config.source, KafkaSource):
        from streamkl.adapters.kafka_client import client_settings
        from streamkl.adapters.kafka_control import KafkaCommands

        source = config.source
        settings = client_settings(
            source.bootstrap_servers, build.security_of(source), f"streamkl-{config.application}-control", source.request_timeout_seconds)
        return KafkaCommands(settings, config.control_topic)
    from streamkl.adapters.sqlite_control import SqliteCommands

    return SqliteCommands(config.state_path)


def command_sender(config: Config) -> CommandSender:
    """Return what sends commands to the service of a configuration. Raises Unavailable where its state file is not there."""
    if isinstance(config.source, KafkaSource):
        from streamkl.adapters.kafka_client import client_settings
        from streamkl.adapters.kafka_command_sender import KafkaSender

        source = config.source
        settings = client_settings(
            source.bootstrap_servers, build.security_of(source), f"streamkl-{config.application}-sender", source.request_timeout_seconds)
        return KafkaSender(settings, config.control_topic, config.application, config.drift_events.mode)
    from streamkl.adapters.sqlite_control import SqliteSender

    return SqliteSender(config.state_path, config.application)


class LateSender:
    """What sends commands to the service of a configuration, which may begin later: each use raises Unavailable until it has."""

    def __init__(self, config: Config) -> None:
        self.place = config.control_topic if config.is_kafka else config.state_path
        self._config = config
        self._sender: CommandSender | None = None

    def send(self, command: Command) -> None:
        """See `CommandSender.send`."""
        self._opened().send(command)

    def sent_since(self, at: int) -> Sequence[tuple[int, Command]]:
        """See `CommandSender.sent_since`."""
        return self._opened().sent_since(at)

    def close(self) -> None:
        """Let go of what is held open."""
        if self._sender is not None:
            self._sender.close()

    def _opened(self) -> CommandSender:
        if self._sender is None:
            self._sender = command_sender(self._config)
        return self._sender


def sender_of(place: str, config: str | None = None) -> CommandSender:
    """Return what sends to a place: path of a configuration, kafka://HOST:PORT/CONTROL_TOPIC or sqlite:///PATH of a state file.

    config: path of a configuration, for its security settings of Kafka. Raises ConfigError, Unavailable.
    """
    from streamkl.app.config import load

    if "://" not in place:
        return command_sender(load(place, os.environ))
    found = event_place(place)
    if found.kind == "kafka":
        from streamkl.adapters.kafka_client import client_settings
        from streamkl.adapters.kafka_command_sender import KafkaSender

        return KafkaSender(client_settings(found.servers, build.security(config)), found.topic, found.topic.removesuffix(SUFFIX))
    if found.kind == "sqlite":
        from streamkl.adapters.sqlite_control import SqliteSender

        return SqliteSender(found.path)
    raise ConfigError("a file of events takes no commands; give the path of a configuration, kafka://HOST:PORT/TOPIC or sqlite:///PATH")
