"""Mutants of how alerts are raised and delivered: A1 and A2."""

from mutants.mutant import Mutant, TextMutant

A1 = [
    Mutant(
        "threshold-a-token-late", "A1", "What has just been reached is not told.",
        "Alerts.thresholds",
        "bisect_right(line.alert_at_percent, reached)",
        "__import__('bisect').bisect_left(line.alert_at_percent, reached)",
    ),
    Mutant(
        "own-hold-reaches-nothing", "A1", "A threshold is told one call late.",
        "Alerts.thresholds",
        "balance.spent + balance.held + (line.amount if holds else 0)",
        "balance.spent + balance.held",
    ),
    Mutant(
        "refusals-are-not-told", "A1", "A limit that refuses may never have been reached.",
        "Alerts.thresholds", "reached = max(reached, 100)", "pass",
    ),
    Mutant(
        "too-large-reaches-all", "A1", "One call that could never fit uses up a window's alert.",
        "Alerts.thresholds",
        "ceiling > 0 and balance.never_fits(amount)", "False and balance.never_fits(amount)",
    ),
    Mutant(
        "rolled-back-alerts-remembered", "A1", "What was rolled back is never told.",
        "Alerts.forget",
        "self._known.clear()\n"
        "self._raised.clear()",
        "pass",
    ),
    Mutant(
        "scopes-told-together", "A1", "One scope's alert keeps another's from being raised.",
        "Alerts._passed",
        "(AlertKind.THRESHOLD, rule, window, scope, span.start_us, percents)",
        "(AlertKind.THRESHOLD, rule, window, '', span.start_us, percents)",
    ),
    TextMutant(
        "alerts-pruned-in-open-windows", "A1", "A month is told of again.",
        "Outbox.prune", "WHERE window_end_us < ?", "WHERE raised_at_us < ?",
    ),
    Mutant(
        "alert-at-not-passed-on", "A1", "The rule's `alert_at` never reaches the ledger.",
        "_lines", "rule.terms.alert_at_percent", "(50, 80, 100)",
    ),
    Mutant(
        "burn-of-a-few-hours", "A1", "One hour is enough to know what is usual.",
        "MIN_BURN_HOURS", "6", "1",
    ),
    Mutant(
        "nobody-looks-for-burn", "A1", "The running sidecar never looks at what an hour spends.",
        "run_maintenance", "_once(ledger.burn(clock()))", "asyncio.sleep(0, 0)",
    ),
]  # fmt: skip

A2 = [
    Mutant(
        "failed-is-delivered", "A2", "An attempt is enough.",
        "Outbox.record", "None if error else now_us", "now_us",
    ),
    Mutant(
        "owed-to-the-first-alone", "A2", "Only one channel is told.",
        "Alerts._raise", "self._channels", "self._channels[:1]",
    ),
    TextMutant(
        "retries-wait-for-the-clock", "A2", "A clock set back puts deliveries off.",
        "_DUE", "next_at_us <= ? OR next_at_us > ?", "next_at_us <= ? OR 0 AND ?",
    ),
    Mutant(
        "any-answer-is-a-delivery", "A2", "A receiver that fails has been told.",
        "Client._exchange", "HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES", "status",
    ),
    Mutant(
        "redirects-followed", "A2", "An alert goes where its receiver says.",
        "Client.__init__", "False", "True",
    ),
    Mutant(
        "urls-in-the-log", "A2", "The log shows where alerts go.",
        "",
        "logging.getLogger('httpx2').setLevel(logging.WARNING)",
        "logging.getLogger('httpx2').setLevel(logging.INFO)",
    ),
    Mutant(
        "any-exit-is-a-delivery", "A2", "A command that fails has told somebody.",
        "CommandChannel.deliver",
        "if process.returncode:\n"
        "    ...",
        "if False:\n"
        "    ...",
    ),
    Mutant(
        "one-waits-for-the-other", "A2", "A dead receiver holds up the log.",
        "Dispatcher.run",
        "group.create_task(self._serve(channel, awake))", "await self._serve(channel, awake)",
    ),
    TextMutant(
        "verify-blind-to-lost-deliveries", "A2", "An alert that nobody is owed passes.",
        "_CHECKS",
        "WHERE NOT EXISTS (SELECT 1 FROM alert_deliveries",
        "WHERE 0 AND NOT EXISTS (SELECT 1 FROM alert_deliveries",
    ),
]  # fmt: skip
