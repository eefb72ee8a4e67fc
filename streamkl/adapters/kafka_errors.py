"""Kafka errors: what the client library raises, in our words, told by who must act.

Rule 1: what is not known to need anybody is Unavailable: it is tried again.
Rule 2: a message says what we were doing; the library's own words follow where ours do not say more.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors

from streamkl.errors import ConfigError, StateError, StreamklError, Unavailable

FENCED = (errors.ProducerFencedError, errors.InvalidProducerEpochError)
UNREADABLE = (errors.OffsetOutOfRangeError, errors.LogTruncationError, errors.NoOffsetForPartitionError)
CREDENTIALS = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError)

REMEDIES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (CREDENTIALS, "the broker refuses us; check mechanism, username and password"),
    ((errors.TopicAuthorizationFailedError,), "we have no right to the topic; allow READ and DESCRIBE of what is read, WRITE of what is written"),
    ((errors.GroupAuthorizationFailedError,), "we have no right to the consumer group; allow READ of it"),
    ((errors.TransactionalIdAuthorizationFailedError,), "we have no right to the transactional id; allow WRITE and DESCRIBE of it"),
    ((errors.AuthorizationError,), "we have no right to do this; allow it on the broker"),
    ((errors.InvalidSessionTimeoutError,), "the broker does not allow this session timeout; see its group.{min,max}.session.timeout.ms"),
    ((errors.InvalidTransactionTimeoutError,), "the broker allows only shorter transactions; raise its transaction.max.timeout.ms"),
    ((errors.InconsistentGroupProtocolError,), "other programs are in this consumer group; use a group of its own"),
    ((errors.InvalidGroupIdError,), "the broker does not take this name of a group"),
    ((errors.GroupMaxSizeReachedError,), "the group has as many members as the broker allows; see its group.max.size"),
    ((errors.InvalidTopicError,), "the broker does not take this name of a topic"),
    ((errors.MessageSizeTooLargeError, errors.RecordListTooLargeError), "a message is too large; raise max.message.bytes of the topic"),
    ((errors.UnsupportedCodecError,), "records are compressed in a way that needs a library; pip install 'kafka-python[lz4,snappy,zstd]'"),
    ((errors.UnsupportedVersionError, errors.UnsupportedForMessageFormatError), "the broker is too old; use 2.5 or newer"),
    ((errors.PolicyViolationError, errors.SecurityDisabledError), "the broker's policy forbids it"),
    ((errors.KafkaConfigurationError, errors.IllegalArgumentError), "a setting of the client is wrong"),
)


def explained(error: BaseException, doing: str) -> StreamklError:
    """Return our error for one of the library's, or of its sockets.

    >>> explained(errors.KafkaTimeoutError("Timed out after 10 ms"), "reading payments[0]")
    Unavailable('reading payments[0]: KafkaTimeoutError: Timed out after 10 ms; it is tried again')
    """
    said = str(error) if isinstance(error, errors.KafkaError) else f"{type(error).__name__}: {error}"
    if isinstance(error, FENCED):
        return StateError(
            f"{doing}: another process took our place: it runs with the same application and instance; "
            "end one of the two, or give each an instance of its own"
        )
    if isinstance(error, UNREADABLE):
        return StateError(f"{doing}: the offset is not in the log any more ({said}); discard the state: streamkl run --discard-state '*'")
    for kinds, remedy in REMEDIES:
        if isinstance(error, kinds):
            return ConfigError(f"{doing}: {remedy} ({said})")
    if _is_of_certificate(error):
        return ConfigError(f"{doing}: TLS fails; check ca_file, certificate_file, key_file, and the name in the broker's certificate ({said})")
    return Unavailable(f"{doing}: {said}; it is tried again")


def is_refusal(error: BaseException) -> bool:
    """Say whether it is no use to try again."""
    return not isinstance(explained(error, ""), Unavailable)


@contextmanager
def in_our_words(doing: str) -> Iterator[None]:
    """Turn what the library raises inside into our errors."""
    try:
        yield
    except errors.KafkaError as error:
        raise explained(error, doing) from error


def _is_of_certificate(error: BaseException) -> bool:
    """Say whether TLS files are missing or wrong, or one side's certificate is refused; the library wraps this in text."""
    if isinstance(error, errors.KafkaError):
        return "CERTIFICATE_VERIFY_FAILED" in str(error) or ("Handshake failed" in str(error) and "ALERT" in str(error).upper())
    return isinstance(error, FileNotFoundError | PermissionError | ssl.SSLError)
