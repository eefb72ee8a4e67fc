"""Kafka predecessor: the member that an earlier life of this process left behind in its group.

A process that was killed holds its partitions until its session has timed out, up to a minute in which nobody reads them. Who starts under the
same instance name takes its place anyway, and fences its transactions; so it is taken out of the group at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError

from streamkl.adapters.kafka_client import connected


def remove_predecessor(settings: Mapping[str, Any], group: str, client_id: str) -> int:
    """Take members of this client id out of a group; return how many. Where the broker does not allow it, time will: then 0."""
    admin = connected(KafkaAdminClient, {**settings, "client_id": f"{client_id}-start"})
    try:
        members = admin.describe_groups([group]).get(group, {}).get("members", ())
        left = [MemberToRemove(member_id=member["member_id"]) for member in members if member["client_id"] == client_id]
        return len(admin.remove_group_members(group, left)) if left else 0
    except KafkaError:
        return 0
    finally:
        admin.close()
