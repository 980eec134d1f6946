"""Mutants of how alerts are raised and delivered: A1 and A2."""

from mutants.mutant import Mutant, TextMutant

A1 = [
    Mutant(
        "threshold-a-token-late", "A1", "A threshold that is reached exactly raises no alert.",
        "Alerts.thresholds",
        "bisect_right(line.alert_at_percent, reached)",
        "__import__('bisect').bisect_left(line.alert_at_percent, reached)",
    ),
    Mutant(
        "own-hold-raises-no-alert", "A1", "A call's own hold does not count for the thresholds that it reaches.",
        "Alerts.thresholds",
        "balance.held - balance.idle + (line.amount if holds else 0)",
        "balance.held - balance.idle",
    ),
    Mutant(
        "refusal-raises-no-alert", "A1", "A refusal by a limit does not raise the alert at 100 %.",
        "Alerts.thresholds", "reached = max(reached, 100)", "pass",
    ),
    Mutant(
        "too-large-raises-alerts", "A1", "A call that is larger than its budget raises the alerts of all thresholds.",
        "Alerts.thresholds",
        "ceiling > 0 and balance.never_fits(amount)", "False and balance.never_fits(amount)",
    ),
    Mutant(
        "rolled-back-alerts-remembered", "A1", "An alert that was rolled back is never raised again.",
        "Alerts.forget",
        "self._known.clear()\n"
        "self._raised.clear()",
        "pass",
    ),
    Mutant(
        "scopes-share-an-alert", "A1", "An alert of one scope keeps other scopes from raising theirs.",
        "Alerts._passed",
        "(AlertKind.THRESHOLD, rule, window, scope, span.start_us, percents)",
        "(AlertKind.THRESHOLD, rule, window, '', span.start_us, percents)",
    ),
    TextMutant(
        "alerts-pruned-in-open-windows", "A1", "Pruning removes the alerts of a window that is still open, and they are raised again.",
        "Outbox.prune", "WHERE window_end_us < ?", "WHERE raised_at_us < ?",
    ),
    Mutant(
        "alert-at-not-passed-on", "A1", "The rule's `alert_at` never reaches the ledger.",
        "_lines", "rule.terms.alert_at_percent", "(50, 80, 100)",
    ),
    Mutant(
        "burn-of-a-few-hours", "A1", "A burn rate is compared with the average of too few hours.",
        "MIN_BURN_HOURS", "6", "1",
    ),
    Mutant(
        "burn-never-checked", "A1", "The running sidecar never checks burn rates.",
        "run_maintenance", "_once(ledger.burn(clock()))", "asyncio.sleep(0, 0)",
    ),
    Mutant(
        "every-sidecar-delivers", "A1", "Each sidecar of a fleet delivers the alerts of a budget.",
        "FleetMember.claims",
        "FleetClaims(self._connection, self._uid, self._steady)", "super().claims()",
    ),
]  # fmt: skip

A2 = [
    Mutant(
        "failed-is-delivered", "A2", "A failed attempt counts as a delivery.",
        "Outbox.record", "now_us if one.is_delivered else None", "now_us",
    ),
    Mutant(
        "books-waited-for-without-end", "A2", "While a fleet's books are away, no alert is delivered.",
        "FleetClaims._claimed",
        "Claim.OWN if self._is_patience_over() else Claim.TAKEN", "Claim.TAKEN",
    ),
    TextMutant(
        "claims-never-lapse", "A2", "What a sidecar has claimed no other delivers, though it is gone.",
        "_CLAIM", " OR alert.until_us <= excluded.until_us - $2::bigint", "",
    ),
    Mutant(
        "only-first-channel", "A2", "An alert is delivered only to the first channel.",
        "Alerts._raise", "self._channels", "self._channels[:1]",
    ),
    TextMutant(
        "retries-wait-for-the-clock", "A2", "After the clock was set back, retries wait until it has caught up.",
        "_DUE", "next_at_us <= ? OR next_at_us > ?", "next_at_us <= ? OR 0 AND ?",
    ),
    Mutant(
        "any-response-is-a-delivery", "A2", "A response with an error status counts as a delivery.",
        "Client._exchange", "HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES", "status",
    ),
    Mutant(
        "redirects-followed", "A2", "An alert follows redirects to other hosts.",
        "Client.__init__", "False", "True",
    ),
    Mutant(
        "urls-in-the-log", "A2", "The log shows the URL of a webhook.",
        "",
        "logging.getLogger('httpx2').setLevel(logging.WARNING)",
        "logging.getLogger('httpx2').setLevel(logging.INFO)",
    ),
    Mutant(
        "any-exit-is-a-delivery", "A2", "A command that fails counts as a delivery.",
        "CommandChannel.deliver",
        "if process.returncode:\n"
        "    ...",
        "if False:\n"
        "    ...",
    ),
    Mutant(
        "channels-wait-for-each-other", "A2", "A channel that does not respond delays the other channels.",
        "Dispatcher.run",
        "group.create_task(self._serve(channel, awake))", "await self._serve(channel, awake)",
    ),
    TextMutant(
        "verify-blind-to-lost-deliveries", "A2", "`ledger verify` accepts an alert without any delivery.",
        "_CHECKS",
        "WHERE NOT EXISTS (SELECT 1 FROM alert_deliveries",
        "WHERE 0 AND NOT EXISTS (SELECT 1 FROM alert_deliveries",
    ),
]  # fmt: skip
