"""Names, help texts and labels of all metrics; docs/metrics.md has the same list.

Names follow the conventions of Prometheus: units come last, in seconds, USD and bytes.
Callers cannot choose the values of labels, except scopes of budgets, which are bounded.
"""

from typing import NamedTuple

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
GROUPS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Name(NamedTuple):
    """A metric: its name, help text and label names."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


# Counters and histograms.
CALLS = Name(
    "sidecar_calls_total",
    "Calls by method and gRPC status; each request of a stream counts as one.",
    ("method", "code"),
)
DECISIONS = Name(
    "sidecar_decisions_total",
    "Decisions. mode is enforce, dry_run, or repeat for a request_id that was seen before.",
    ("effect", "mode"),
)
REPLAYS = Name(
    "sidecar_replays_total",
    "Replays of earlier decisions, by the current state of the hold; none for a denial.",
    ("hold_state",),
)
REASONS = Name(
    "sidecar_decision_reasons_total",
    "Reasons to deny, by code and rule. mode is enforce, shadow (without effect) or dry_run."
    " The rule is empty for the sidecar's own reasons.",
    ("code", "rule", "mode"),
)
STAGES = Name(
    "sidecar_authorize_seconds",
    "Duration of decisions by stage: identity, queue (until its group begins), policy, ledger (with"
    " its commit), and whole.",
    ("stage",),
)
STAGE_VALUES = ("identity", "queue", "policy", "ledger", "whole")
HOLDS_CLOSED = Name(
    "sidecar_holds_closed_total",
    "Holds that ended, by state: settled, released or expired.",
    ("state",),
)
OVERRUNS = Name("sidecar_overruns_total", "Holds that were settled with more than was held.")
UNRECOGNIZED_USAGE = Name(
    "sidecar_unrecognized_usage_total",
    "Holds that were settled with usage without any known count, and charged as held.",
)
COMMIT_GROUP = Name("sidecar_commit_group_requests", "Requests per group commit.")
COMMIT_SECONDS = Name(
    "sidecar_commit_seconds", "Duration of each COMMIT, which waits for the disk."
)
COMMIT_FAILURES = Name("sidecar_commit_failures_total", "Group commits that failed.")
BUDGETS_DROPPED = Name(
    "sidecar_budgets_dropped_total",
    "Budgets that are no longer shown, because others were used more recently.",
)

# Read at each scrape.
CEILING = "sidecar_budget_ceiling_{unit}"
REMAINING = "sidecar_budget_remaining_{unit}"
UNITS = {"requests": "requests", "tokens": "tokens", "cost": "usd"}
"""The unit of each meter."""
BUDGETS = [
    Name(name.format(unit=unit), f"{text} in {unit.replace('usd', 'USD')}.", ("rule", "scope"))
    for name, text in (
        (CEILING, "The ceiling of recently used budgets,"),
        (REMAINING, "What is left of recently used budgets,"),
    )
    for unit in UNITS.values()
]
HOLDS_OPEN = Name("sidecar_holds_open", "Open holds.")
DENIALS = Name("sidecar_ledger_denials", "Denials that the ledger keeps.")
DENIALS_DROPPED = Name(
    "sidecar_ledger_denials_dropped_total",
    "Denials that were dropped to make room for newer ones, since the ledger was created.",
)
LEDGER_FILE = Name("sidecar_ledger_file_bytes", "The size of the ledger's file, without its WAL.")
LEDGER_WAL = Name(
    "sidecar_ledger_wal_bytes",
    "The size of the ledger's WAL, which grows as long as another process keeps reading.",
)
LEDGER_FREE = Name("sidecar_ledger_disk_free_bytes", "What is free on the disk of the ledger.")
COMMIT_QUEUE = Name("sidecar_commit_queue_requests", "Requests that wait for the next commit.")
READY = Name("sidecar_ready", "1 while calls can be decided, as for the readiness probe; else 0.")
CLOCK_BEHIND = Name(
    "sidecar_ledger_ahead_of_clock_seconds",
    "How far the time of decisions is ahead of the system's clock; negative while a jump of the"
    " clock is not trusted.",
)
CERTIFICATE_EXPIRY = Name(
    "sidecar_tls_certificate_expiry_seconds",
    "Time until the certificate of --tls-cert ends; negative once it has. Left out without TLS.",
)
CLIENT_CA_EXPIRY = Name(
    "sidecar_tls_client_ca_expiry_seconds",
    "Time until the first CA of --client-ca ends; negative once it has. Left out without one.",
)
KEYS_AGE = Name(
    "sidecar_jwks_age_seconds",
    "Age of the keys that verify tokens; +Inf if they were never read. Left out without tokens.",
)
FLEET_AGE = Name(
    "sidecar_fleet_exchange_age_seconds",
    "Time since the last exchange with the fleet's books; +Inf before the first. Left out without a"
    " fleet.",
)
FLEET_HOLDERS = Name(
    "sidecar_fleet_holders",
    "Sidecars of the fleet that were heard of in the last minute. Left out without a fleet.",
)
FLEET_CLOCK = Name(
    "sidecar_fleet_clock_ahead_seconds",
    "How far the system's clock is ahead of that of the fleet's books. Left out without a fleet.",
)
FLEET_EXCHANGES = Name(
    "sidecar_fleet_exchanges_total",
    "Exchanges with the fleet's books, by result: answered or failed.",
    ("result",),
)
POLICY_GENERATION = Name("sidecar_policy_generation", "The generation of the policy set in use.")
POLICY_INFO = Name(
    "sidecar_policy_info", "1, with the digest of the policy set in use.", ("digest",)
)
POLICY_LOADED = Name(
    "sidecar_policy_loaded_timestamp_seconds", "When the policy set in use was loaded."
)
POLICY_STALE = Name(
    "sidecar_policy_stale_since_timestamp_seconds",
    "Since when newer policy files have been invalid; 0 while they are valid.",
)
POLICY_RELOADS = Name(
    "sidecar_policy_reloads_total", "Policy loads, by result: loaded or refused.", ("result",)
)
ALERTS_RAISED = Name("sidecar_alerts_raised_total", "Alerts, by kind.", ("kind",))
ALERTS_DELIVERED = Name(
    "sidecar_alerts_delivered_total", "Deliveries of alerts.", ("kind", "channel")
)
ALERTS_FAILED = Name(
    "sidecar_alerts_failed_total",
    "Failed attempts to deliver an alert; each is repeated.",
    ("kind", "channel"),
)
DECISION_LOG_LINES = Name("sidecar_decision_log_lines_total", "Lines written to the decision log.")
DECISION_LOG_DROPPED = Name(
    "sidecar_decision_log_dropped_lines_total",
    "Lines that were dropped because the decision log's queue was full.",
)
DECISION_LOG_QUEUE = Name(
    "sidecar_decision_log_queue_lines", "Lines that wait to be written to the decision log."
)
LOG_DROPPED = Name(
    "sidecar_log_dropped_lines_total",
    "Lines of the log that were dropped, because they were not read in time.",
)
