"""Mutants of how alerts are raised and delivered: A1 and A2."""

from mutants.mutant import Mutant

A1 = [
    Mutant(
        "threshold-a-token-late", "A1", "What has just been reached is not told.",
        "ledger/alerts.py", "bisect_right(line", "bisect_left(line",
    ),
    Mutant(
        "own-hold-reaches-nothing", "A1", "A threshold is told one call late.",
        "ledger/alerts.py",
        "used = balance.spent + balance.held + (line.amount if holds else 0)",
        "used = balance.spent + balance.held",
    ),
    Mutant(
        "refusals-are-not-told", "A1", "A limit that refuses may never have been reached.",
        "ledger/alerts.py", "reached = max(reached, 100)", "pass",
    ),
    Mutant(
        "too-large-reaches-all", "A1", "One call that could never fit uses up a window's alert.",
        "ledger/alerts.py", "larger = ceiling > 0 and", "larger = False and",
    ),
    Mutant(
        "rolled-back-alerts-remembered", "A1", "What was rolled back is never told.",
        "ledger/alerts.py", "        self._known.clear()\n        self._raised.clear()", "        pass",
    ),
    Mutant(
        "scopes-told-together", "A1", "One scope's alert keeps another's from being raised.",
        "ledger/alerts.py",
        "(AlertKind.THRESHOLD, rule, window, scope, span.start_us, percents)",
        '(AlertKind.THRESHOLD, rule, window, "", span.start_us, percents)',
    ),
    Mutant(
        "alerts-pruned-in-open-windows", "A1", "A month is told of again.",
        "ledger/outbox.py", "WHERE window_end_us < ?", "WHERE raised_at_us < ?",
    ),
    Mutant(
        "alert-at-not-passed-on", "A1", "The rule's `alert_at` never reaches the ledger.",
        "authorization/request_evaluation.py", "alert_at_percent=rule.terms.alert_at_percent", "alert_at_percent=(50, 80, 100)",
    ),
    Mutant(
        "burn-of-a-few-hours", "A1", "One hour is enough to know what is usual.",
        "ledger/alerts.py", "MIN_BURN_HOURS = 6", "MIN_BURN_HOURS = 1",
    ),
    Mutant(
        "nobody-looks-for-burn", "A1", "The running sidecar never looks at what an hour spends.",
        "runtime/maintenance.py", "lambda: _once(ledger.burn(clock()))", "lambda: asyncio.sleep(0, 0)",
    ),
]  # fmt: skip

A2 = [
    Mutant(
        "failed-is-delivered", "A2", "An attempt is enough.",
        "ledger/outbox.py", "None if error else now_us", "now_us",
    ),
    Mutant(
        "owed-to-the-first-alone", "A2", "Only one channel is told.",
        "ledger/alerts.py", "for name in self._channels]", "for name in self._channels[:1]]",
    ),
    Mutant(
        "retries-wait-for-the-clock", "A2", "A clock set back puts deliveries off.",
        "ledger/outbox.py", "next_at_us <= ? OR next_at_us > ?", "next_at_us <= ? OR 0 AND ?",
    ),
    Mutant(
        "any-answer-is-a-delivery", "A2", "A receiver that fails has been told.",
        "web/client.py", "                if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:", "                if not status:",
    ),
    Mutant(
        "redirects-followed", "A2", "An alert goes where its receiver says.",
        "web/client.py", "follow_redirects=False", "follow_redirects=True",
    ),
    Mutant(
        "urls-in-the-log", "A2", "The log shows where alerts go.",
        "web/client.py", "setLevel(logging.WARNING)", "setLevel(logging.INFO)",
    ),
    Mutant(
        "any-exit-is-a-delivery", "A2", "A command that fails has told somebody.",
        "alerts/command.py", "        if process.returncode:\n", "        if False:\n",
    ),
    Mutant(
        "one-waits-for-the-other", "A2", "A dead receiver holds up the log.",
        "alerts/dispatcher.py",
        "                    group.create_task(self._serve(channel, awake))",
        "                    await self._serve(channel, awake)",
    ),
    Mutant(
        "verify-blind-to-lost-deliveries", "A2", "An alert that nobody is owed passes.",
        "ledger/verify.py", "WHERE NOT EXISTS (SELECT 1 FROM alert_deliveries", "WHERE 0 AND NOT EXISTS (SELECT 1 FROM alert_deliveries",
    ),
]  # fmt: skip
