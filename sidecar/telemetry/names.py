"""Every metric by its name, and what it tells; docs/metrics.md is this list.

Names follow the conventions of Prometheus: units come last, in seconds, USD and bytes. No
label has a value that callers can choose, but the scopes of budgets, whose number is bounded.
"""

from typing import NamedTuple

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
GROUPS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Name(NamedTuple):
    """A metric: what it is called, what it tells, and by which labels."""

    name: str
    tells: str
    labels: tuple[str, ...] = ()


# What happens, counted as it does.
CALLS = Name(
    "sidecar_calls_total",
    "Calls by method and by the name of their gRPC status; each request of a stream is one.",
    ("method", "code"),
)
DECISIONS = Name(
    "sidecar_decisions_total",
    "Answers to Authorize. mode is enforce; dry_run; or repeat, for a request_id seen before.",
    ("effect", "mode"),
)
REPLAYS = Name(
    "sidecar_replays_total",
    "Answers to a request_id seen before, by the state of its hold by then; none for a denial.",
    ("hold_state",),
)
REASONS = Name(
    "sidecar_decision_reasons_total",
    "Reasons to deny, by code and rule. mode is enforce; shadow, without effect; or dry_run."
    " Without a rule it is the sidecar's own reason.",
    ("code", "rule", "mode"),
)
STAGES = Name(
    "sidecar_authorize_seconds",
    "Time of decisions by stage: identity, policy, ledger (with its commit), and whole.",
    ("stage",),
)
STAGE_VALUES = ("identity", "policy", "ledger", "whole")
HOLDS_CLOSED = Name(
    "sidecar_holds_closed_total",
    "Holds that ended: settled, released, or expired because nobody did either in time.",
    ("state",),
)
OVERRUNS = Name("sidecar_overruns_total", "Holds settled with more than was held.")
UNRECOGNIZED_USAGE = Name(
    "sidecar_unrecognized_usage_total",
    "Holds settled with a usage in which no count is known: they were charged as held.",
)
COMMIT_GROUP = Name(
    "sidecar_commit_group_requests", "Requests that were committed to the ledger together."
)
COMMIT_SECONDS = Name("sidecar_commit_seconds", "Time of each COMMIT, which waits for the disk.")
COMMIT_FAILURES = Name(
    "sidecar_commit_failures_total", "Groups that could not be written to the ledger."
)
BUDGETS_DROPPED = Name(
    "sidecar_budgets_dropped_total",
    "Budgets that are no longer shown, because others were used later.",
)

# What is, looked up when somebody asks.
CEILING = "sidecar_budget_ceiling_{unit}"
REMAINING = "sidecar_budget_remaining_{unit}"
UNITS = {"requests": "requests", "tokens": "tokens", "cost": "usd"}
"""The unit of each meter."""
BUDGETS = [
    Name(name.format(unit=unit), f"{tells} in {unit.replace('usd', 'USD')}.", ("rule", "scope"))
    for name, tells in (
        (CEILING, "The ceiling of budgets that were used of late,"),
        (REMAINING, "What may still be held on budgets that were used of late,"),
    )
    for unit in UNITS.values()
]
HOLDS_OPEN = Name("sidecar_holds_open", "Holds that wait for their Settle.")
COMMIT_QUEUE = Name("sidecar_commit_queue_requests", "Requests that wait for the next commit.")
READY = Name("sidecar_ready", "1 while calls can be decided, as the readiness probe is told.")
POLICY_GENERATION = Name("sidecar_policy_generation", "The generation of the policies in use.")
POLICY_INFO = Name("sidecar_policy_info", "1, with the digest of the policies in use.", ("digest",))
POLICY_LOADED = Name(
    "sidecar_policy_loaded_timestamp_seconds", "When the policies in use were loaded."
)
POLICY_STALE = Name(
    "sidecar_policy_stale_since_timestamp_seconds",
    "Since when there have been newer policies that cannot be used; 0 while there are none.",
)
POLICY_RELOADS = Name(
    "sidecar_policy_reloads_total", "Loads of policies, by result: loaded or refused.", ("result",)
)
ALERTS_RAISED = Name("sidecar_alerts_raised_total", "Alerts, by kind.", ("kind",))
ALERTS_DELIVERED = Name(
    "sidecar_alerts_delivered_total", "Deliveries of alerts.", ("kind", "channel")
)
ALERTS_FAILED = Name(
    "sidecar_alerts_failed_total",
    "Attempts to deliver an alert that failed, and are repeated.",
    ("kind", "channel"),
)
DECISION_LOG_LINES = Name("sidecar_decision_log_lines_total", "Lines written to the decision log.")
DECISION_LOG_DROPPED = Name(
    "sidecar_decision_log_dropped_lines_total", "Lines that the decision log had no room for."
)
DECISION_LOG_QUEUE = Name(
    "sidecar_decision_log_queue_lines", "Lines that wait to be written to the decision log."
)
LOG_DROPPED = Name("sidecar_log_dropped_lines_total", "Lines of the log that nobody read in time.")
