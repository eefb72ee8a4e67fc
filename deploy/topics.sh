#!/bin/sh
# Make the topics that an application writes, and give its users the rights they need, and no others.
#
#   BOOTSTRAP=broker:9092 deploy/topics.sh APPLICATION INPUT_TOPIC PARTITIONS
#   DETECTOR=streamkl CORRECTORS=retrainer BOOTSTRAP=broker:9092 deploy/topics.sh payments payments.events 12
#
# PARTITIONS: those of INPUT_TOPIC; of several input topics the largest number. The state must have as many, for ever.
# Needs kafka-topics.sh and kafka-acls.sh of a Kafka distribution on PATH. What is there already is left as it is.
#   REPLICAS        copies of each partition (default: what the broker says)
#   COMMAND_CONFIG  client settings of an administrator, for a broker that asks who you are
#   DETECTOR        the user that streamkl runs as; without it no rights are given
#   CORRECTORS      the user that acts on drift events; his groups begin with APPLICATION.
#   OPERATORS       the user that commands (streamkl rebaseline, silence, unsilence, forget), or runs a corrector of kind rebaseline
set -eu
if [ $# -ne 3 ] || [ -z "${BOOTSTRAP:-}" ]; then
    sed -n '2,6p' "$0" | cut -c3- >&2
    exit 2
fi
application=$1 input=$2 partitions=$3
day=86400000
largest=2097152

kafka() {
    tool=$1
    shift
    "$tool" --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} "$@"
}

topic() {
    name=$1
    shift
    settings=
    for setting in "$@"; do settings="$settings --config $setting"; done
    # shellcheck disable=SC2086
    kafka kafka-topics.sh --create --if-not-exists --topic "$name" --partitions "$partitions" ${REPLICAS:+--replication-factor "$REPLICAS"} $settings
}

allow() {
    user=$1
    shift
    kafka kafka-acls.sh --add --allow-principal "User:$user" "$@" >/dev/null
}

topic "$application.drift" retention.ms=$((90 * day)) max.message.bytes=$largest
topic "$application.divergence" retention.ms=$((14 * day)) max.message.bytes=$largest
# A dead letter is the record as it came plus headers, so it may be larger than the record; where it is larger than this its value is cut.
topic "$application.dead-letters" retention.ms=$((14 * day)) max.message.bytes=$largest
# The state is read from its beginning at every start: small segments, cleaned early, keep it short. Only closed segments are cleaned.
topic "$application.state" cleanup.policy=compact segment.bytes=33554432 segment.ms=$((day / 24)) min.cleanable.dirty.ratio=0.1 \
    delete.retention.ms=$day max.message.bytes=8388608

# Commands need one order: one partition. What is older than a month nobody waits for any more.
partitions=1
topic "$application.control" retention.ms=$((30 * day))

# READ and WRITE allow DESCRIBE too. Nobody may make topics.
if [ -n "${DETECTOR:-}" ]; then
    allow "$DETECTOR" --operation READ --topic "$input" --topic "$application.state" --topic "$application.control" --group "$application"
    allow "$DETECTOR" --operation WRITE --topic "$application.drift" --topic "$application.divergence" \
        --topic "$application.dead-letters" --topic "$application.state"
    allow "$DETECTOR" --operation DESCRIBECONFIGS --topic "$application.state" --topic "$application.dead-letters"
    allow "$DETECTOR" --operation WRITE --transactional-id "$application." --resource-pattern-type prefixed
fi
if [ -n "${CORRECTORS:-}" ]; then
    allow "$CORRECTORS" --operation READ --topic "$application.drift"
    allow "$CORRECTORS" --operation READ --group "$application." --resource-pattern-type prefixed
fi
if [ -n "${OPERATORS:-}" ]; then
    allow "$OPERATORS" --operation READ --operation WRITE --topic "$application.control"
fi
