"""Every key in Redis. All begin with `{gtm}:`, one hash slot, so that a script may touch them all on a cluster too."""

from typing import Final

PREFIX: Final = "{gtm}:"
SCHEMA_VERSION: Final = 1

SCHEMA: Final = PREFIX + "schema"
STORE_ID: Final = PREFIX + "store-id"
REVISION: Final = PREFIX + "revision"
CONFIGURATION_REVISION: Final = PREFIX + "configuration-revision"
VERSIONS: Final = PREFIX + "versions"
CHANGES: Final = PREFIX + "changes"
EVENTS: Final = PREFIX + "events"
AUDIT: Final = PREFIX + "audit"
SUCCEEDS: Final = PREFIX + "succeeds"
INSTANCE_IDS: Final = PREFIX + "instance-ids"
TOKEN_USES: Final = PREFIX + "token-uses"
ZONE_NUMBER: Final = PREFIX + "zone-number"
LEADER: Final = PREFIX + "leader"
VERDICT_FEED: Final = PREFIX + "verdict-feed"
VERDICTS_DECIDED: Final = PREFIX + "verdicts-decided"
VERDICTS_WAITING: Final = PREFIX + "verdicts-waiting"
LEADERSHIP: Final = PREFIX + "leadership"
SUSPENSIONS: Final = PREFIX + "suspensions"
HEARTBEATS: Final = PREFIX + "heartbeats"
ALERT_DELIVERIES: Final = PREFIX + "alert-deliveries"
ALERT_TESTS: Final = PREFIX + "alert-tests"
REPORTS: Final = PREFIX + "reports"
REPORT_FEED: Final = PREFIX + "report-feed"


def documents(kind: str) -> str:
    """Hash of the documents of a kind: id -> JSON."""
    return PREFIX + kind


def verdicts(vantage: str) -> str:
    """Hash of a vantage's verdicts: target key -> JSON."""
    return PREFIX + "verdicts:" + vantage


def vantage_lease(vantage: str) -> str:
    """Lease of a vantage's name."""
    return PREFIX + "vantage-lease:" + vantage


def vantage_requests(vantage: str) -> str:
    """List of what a vantage is asked."""
    return PREFIX + "requests:" + vantage


def vantage_reply(request: str) -> str:
    """List of the replies to a request, of a vantage or of the leader."""
    return PREFIX + "reply:" + request


def version_field(kind: str, identifier: str) -> str:
    """Field of a document in the hash of versions."""
    return f"{kind}/{identifier}"
