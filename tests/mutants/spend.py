"""Mutants of how holds are charged, counted and timed: L2 and L5 to L9."""

from mutants.mutant import MigrationMutant, Mutant, TextMutant

L2 = [
    Mutant(
        "closed-hold-still-held", "L2", "A budget keeps the held amount of a hold that is charged.",
        "Settlements._move", "amount.held if found.hold.state is HoldState.OPEN else 0", "0",
    ),
    Mutant(
        "expired-hold-given-back-twice", "L2", "A late Settle subtracts the held amount of an expired hold again.",
        "Settlements._move", "amount.held if found.hold.state is HoldState.OPEN else 0", "amount.held",
    ),
    Mutant(
        "charge-not-on-the-hold", "L2", "The charge is added to the budget, and not written on the hold.",
        "Settlements._move",
        "(amount.budget.row, amount.held, int(amount.charge_on_expiry), charged)",
        "(amount.budget.row, amount.held, int(amount.charge_on_expiry), amount.charged)",
    ),
    Mutant(
        "late-charge-added", "L2", "A late Settle is charged in addition to the charge of the expiry.",
        "Settlements._move", "charged - amount.charged", "charged",
    ),
    TextMutant(
        "verify-blind-to-missing-holds", "L2", "`ledger verify` accepts a balance that lacks a hold.",
        "_CHECKS",
        "WHERE held <> held_by_holds", "WHERE held > held_by_holds",
    ),
    TextMutant(
        "verify-blind-to-double-charges", "L2", "`ledger verify` accepts a balance that counts a charge twice.",
        "_CHECKS",
        "WHERE spent <> charged", "WHERE spent < charged",
    ),
    TextMutant(
        "verify-blind-to-counts-of-holds", "L2", "`ledger verify` accepts a budget that counts a hold which is not there.",
        "_CHECKS", "WHERE holds <> counted_holds", "WHERE holds < counted_holds",
    ),
    TextMutant(
        "verify-blind-to-ids-of-other-rows", "L3", "`ledger verify` accepts a hold with the id of another.",
        "_CHECKS", "AND hold_id NOT GLOB", "AND 0 AND hold_id NOT GLOB",
    ),
    TextMutant(
        "verify-blind-to-budgets-that-are-gone", "L2", "`ledger verify` accepts a hold on a budget that is not there.",
        "_CHECKS", "NOT IN (SELECT id FROM budgets)", "IN (SELECT 0)",
    ),
    Mutant(
        "amounts-in-any-order", "L2", "The hash chain does not notice that the amounts of a hold are in another order or form.",
        "_linked_amounts", "numbers <= {int} and in_order", "True",
    ),
    MigrationMutant(
        "upgrade-mixes-amounts", "L2", "The upgrade writes charges where amounts say what happens on expiry.",
        "0016_packed_holds",
        "json_array(budget, held, charge_on_expiry, charged)",
        "json_array(budget, held, charged, charge_on_expiry)",
    ),
    MigrationMutant(
        "upgrade-counts-no-holds", "L2", "After an upgrade, no budget knows the number of its holds.",
        "0016_packed_holds",
        "UPDATE budgets SET holds = (", "UPDATE budgets SET holds = 0 * (",
    ),
    TextMutant(
        "verify-blind-to-costs", "L2", "`ledger verify` accepts a hold whose cost differs from its budgets' charges.",
        "_CHECKS", "WHERE h.state = 'settled' AND b.window", "WHERE h.state = 'x' AND b.window",
    ),
    TextMutant(
        "verify-blind-to-lost-holds", "L2", "`ledger verify` accepts an Allow without a hold.",
        "_CHECKS",
        "WHERE (d.effect = 'allow') <> (h.id IS NOT NULL)",
        "WHERE (d.effect = 'allow') < (h.id IS NOT NULL)",
    ),
    TextMutant(
        "verify-blind-to-charged-releases", "L5", "`ledger verify` accepts a released hold with a charge.",
        "_CHECKS", "WHERE h.state IN ('open', 'released')", "WHERE h.state IN ('open')",
    ),
    TextMutant(
        "verify-blind-to-negative-amounts", "L7", "`ledger verify` accepts a negative amount.",
        "_CHECKS", "WHERE held < 0 OR opening", "WHERE opening",
    ),
    TextMutant(
        "verify-blind-to-missing-prices", "L7", "`ledger verify` accepts a cost without a price.",
        "_CHECKS", "WHERE price IS NULL AND", "WHERE price IS NULL AND 0 AND",
    ),
    Mutant(
        "verify-blind-to-altered-decisions", "L2", "`ledger verify` accepts an altered decision.",
        "breaks", "link != _link(previous, *content)", "not link",
    ),
    TextMutant(
        "verify-blind-to-ids-used-twice", "L3", "`ledger verify` accepts a denial with the request_id of an allowed call.",
        "_CHECKS", "OR d.request_id = n.request_id", "",
    ),
    Mutant(
        "chain-without-holds", "L2", "The hash chain does not cover what a decision held.",
        "_link", "[row, hold, amounts]", "[row]",
    ),
    Mutant(
        "chain-without-the-previous", "L2", "The hash chain does not cover the previous link, so a decision can be removed.",
        "_link", "previous + content.encode()", "content.encode()",
    ),
    Mutant(
        "prune-loses-the-link", "L2", "Pruning does not keep the link of the last decision that it removes.",
        "Retention.prune", "self._chain.prune(last, link, before_us)", "self._chain.prune(last, b'', before_us)",
    ),
    Mutant(
        "prune-without-a-record", "L2", "A pruning records no digest of the opening balances.",
        "DecisionChain.prune", "openings(self._sql)", "b''",
    ),
    Mutant(
        "pruning-is-no-link", "L2", "A pruning does not cover its own row in the chain.",
        "DecisionChain.prune",
        "self._sql.execute(_INSERT_PRUNING, (*values, self.link(values)))",
        "self._sql.execute(_INSERT_PRUNING, (*values, head(self._sql)))",
    ),
    Mutant(
        "head-before-the-pruning", "L2", "A decision after a pruning is linked to the decision before it.",
        "head", "pruning.follows >= row", "pruning.follows > row",
    ),
    Mutant(
        "verify-blind-to-openings", "L2", "`ledger verify` accepts an altered opening balance.",
        "_broken_chains", "chain.openings(connection) != ...", "False",
    ),
    Mutant(
        "openings-without-their-scope", "L2", "An opening balance can be moved to another scope.",
        "OPENING_COLUMNS",
        "('id', 'rule', 'window', 'meter', 'scope', 'window_start_us', 'opening')",
        "('id', 'opening')",
    ),
    TextMutant(
        "adjustment-not-counted", "L2", "An adjustment is recorded, and not added to the balance.",
        "Adjustments.adjust", "SET spent = spent + ?, window", "SET spent = spent + 0 * ?, window",
    ),
    TextMutant(
        "prune-forgets-the-sum", "L2", "Pruning does not add charges to the opening balance.",
        "_FOLD", "coalesce(opening, 0) + charged", "coalesce(opening, 0) + 0 * charged",
    ),
    TextMutant(
        "prune-keeps-no-balance", "L1", "Pruning resets what an open window has spent.",
        "_FOLD", "UPDATE budgets SET holds", "UPDATE budgets SET spent = 0, holds",
    ),
    TextMutant(
        "prune-forgets-the-count", "L8", "A budget still counts its pruned holds, and is never deleted.",
        "_FOLD", "holds = holds - pruned", "holds = holds - 0 * pruned",
    ),
    TextMutant(
        "prune-budgets-of-holds", "L2", "Pruning removes budgets that kept holds point to.",
        "_DELETE_BUDGETS", " AND holds = 0", "",
    ),
    TextMutant(
        "holds-not-counted", "L2", "A budget does not count the holds that it gets.",
        "_HOLD", "holds = holds + ?", "holds = holds + 0 * ?",
    ),
    TextMutant(
        "prune-open-windows", "L2", "Pruning removes rows of a window that is still open.",
        "_DELETE_BUDGETS", "AND window_end_us < ?1", "AND ?1",
    ),
    TextMutant(
        "prune-no-budget", "L8", "Pruning keeps the rows of windows that ended long ago.",
        "_DELETE_BUDGETS", "AND window_end_us < ?1", "AND window_end_us < 0 * ?1",
    ),
    TextMutant(
        "prune-open-holds", "L2", "Pruning removes holds that are still open.",
        "_OLDEST", "h.state <> 'open'\n    AND (h.closed_at_us < ?2", "(coalesce(h.closed_at_us, 0) < ?2",
    ),
    Mutant(
        "prune-at-once", "L3", "Pruning removes decisions before the end of the retention.",
        "Retention.prune", "now_us - retention_us", "now_us",
    ),
    TextMutant(
        "prune-what-was-closed-late", "L3", "Pruning removes a hold that was closed only now, so that a replay does not find it.",
        "_OLDEST", "(h.closed_at_us < ?2", "(?2",
    ),
]  # fmt: skip

L5 = [
    Mutant(
        "unrecognized-usage-not-flagged", "L5", "A usage that is not understood is not flagged.",
        "Settlements._close",
        "(..., settlement.unrecognized_usage, overrun, found.row)",
        "(..., False, overrun, found.row)",
    ),
    Mutant(
        "unrecognized-usage-of-the-second-settle", "L3", "A second Settle returns the flag of its own usage, not of the first.",
        "Settlements._charge", "Charge(..., found.unrecognized_usage)", "Charge(..., False)",
    ),
    TextMutant(
        "holds-never-expire", "L5", "A hold that is never closed does not expire.",
        "_DUE", "AND h.expires_at_us <= ? ORDER", "AND h.expires_at_us <= 0 * ? ORDER",
    ),
    Mutant(
        "expiry-never-run", "L5", "The running sidecar never expires holds that are due.",
        "run_maintenance", "ledger.expire(clock())", "asyncio.sleep(0, 0)",
    ),
    TextMutant(
        "expiry-too-late", "L5", "A hold expires later than its time.",
        "_DUE", "AND h.expires_at_us <= ? ORDER", "AND h.expires_at_us < ? ORDER",
    ),
    Mutant(
        "expiry-is-free", "L5", "A hold that expires is charged nothing.",
        "Settlements._expire", "it.held * it.charge_on_expiry", "0",
    ),
    Mutant(
        "expiry-always-charges", "L5", "`on_expiry: release` is ignored, and the hold is charged.",
        "Settlements._expire", "it.held * it.charge_on_expiry", "it.held",
    ),
    Mutant(
        "released-is-spend", "L5", "The sum of spend includes expired holds that every limit released.",
        "_charged_on_expiry", "cost_nano_usd = 0", "pass",
    ),
    Mutant(
        "released-by-one-is-released", "L5", "The sum of spend omits an expired hold that one limit released and another charged.",
        "_any_charges_on_expiry", "any", "all",
    ),
    Mutant(
        "uncounted-is-released", "L5", "The sum of spend omits an expired hold that no limit counts.",
        "_any_charges_on_expiry",
        "any(counted) if counted else None", "any(counted) if counted else False",
    ),
    TextMutant(
        "verify-blind-to-unknown-outcomes", "L2", "`ledger verify` accepts an expired hold with a cost that no budget was charged.",
        "_CHECKS",
        "AND h.charged_cost_nano_usd <> coalesce(", "AND h.charged_cost_nano_usd < coalesce(",
    ),
    Mutant(
        "on-expiry-not-passed-on", "L5", "The rule's `on_expiry` never reaches the ledger.",
        "_lines", "rule.limit is None or rule.limit.charge_on_expiry", "True",
    ),
    Mutant(
        "late-settle-ignored", "L5", "A late Settle does not correct the charge of the expiry.",
        "Settlements.settle", "(HoldState.OPEN, HoldState.EXPIRED)", "(HoldState.OPEN,)",
    ),
    Mutant(
        "late-release-ignored", "L5", "A late Release does not undo the charge of the expiry.",
        "Settlements.release", "(HoldState.OPEN, HoldState.EXPIRED)", "(HoldState.OPEN,)",
    ),
    Mutant(
        "unreported-is-free", "L5", "Counts that a report omits are charged nothing.",
        "_first", "held if reported is None else reported", "reported or 0",
    ),
    Mutant(
        "overrun-cut-off", "L5", "Usage above the hold is not charged.",
        "Settlements.settle",
        "actual.get(it.limit.meter, it.held)",
        "min(actual.get(it.limit.meter, it.held), it.held)",
    ),
    Mutant(
        "own-ttl-ignored", "L5", "A call's own hold_ttl is ignored.",
        "Proposer._facts",
        "_hold_ttl_us(request) or self.hold_ttl_us", "self.hold_ttl_us",
    ),
]  # fmt: skip

L6 = [
    Mutant(
        "settles-into-today", "L6", "A call of yesterday that is settled today is charged to today's window.",
        "Settlements._move",
        "self._balances.close(amount.budget, ...)",
        "self._balances.close(self._balances.budget_row(self._balances.of(amount.limit, self._balances.advance(0)).row or amount.budget.row), ...)",
    ),
    Mutant(
        "quarter-ends-early", "L6", "A quarter ends after one month.",
        "_next", "_MONTHS[window]", "1",
    ),
    Mutant(
        "anchor-ignored", "L6", "Every month begins on its first day.",
        "Calendar.span", "self._find(window, at_us, anchor)", "self._find(window, at_us, DEFAULT_ANCHOR)",
    ),
    Mutant(
        "anchors-share-a-window", "L6", "Two limits with different first days get one window.",
        "Calendar.span", "self._latest.get((window, anchor))", "self._latest.get((window, DEFAULT_ANCHOR))",
    ),
    Mutant(
        "week-without-its-hour", "L6", "A week begins at midnight, whatever its header says.",
        "_floor", "timedelta(days=days, hours=anchor.hour)", "timedelta(days=days)",
    ),
    Mutant(
        "day-is-24-hours", "L6", "A day has 24 hours even when the clocks change.",
        "Calendar._find",
        "start_us = self._first_shown_us(begins)\n"
        "while True:\n"
        "    begins = _next(window, begins)\n"
        "    end_us = self._first_shown_us(begins)\n"
        "    if end_us > at_us:\n"
        "        ...\n"
        "    start_us = end_us",
        "start_us = self._first_shown_us(begins)\n"
        "while True:\n"
        "    begins = _next(window, begins)\n"
        "    end_us = self._first_shown_us(begins)\n"
        "    if window is Window.DAY:\n"
        "        end_us = start_us + 86400 * SECOND_US\n"
        "    if end_us > at_us:\n"
        "        ...\n"
        "    start_us = end_us",
    ),
    Mutant(
        "zone-ignored", "L6", "Windows follow UTC in every time zone.",
        "Calendar._shown", "self._zone", "UTC",
    ),
    Mutant(
        "zone-not-passed-on", "L6", "`--time-zone` never reaches the ledger.",
        "serve", "ZoneInfo(settings.time_zone)", "ZoneInfo('UTC')",
    ),
    Mutant(
        "anchor-not-passed-on", "L6", "`starts_on` and `starts_at` never reach the ledger.",
        "Evaluation._limit", "Limit(..., terms.anchor)", "Limit(...)",
    ),
    Mutant(
        "anchor-not-kept", "L6", "A settlement finds the window of the usual first day.",
        "GroupBalances.budget_row", "Anchor(day, hour)", "Anchor()",
    ),
]  # fmt: skip

L7 = [
    Mutant(
        "float-money", "L7", "A cost is computed with floats.",
        "Tariff.cost_nano_usd",
        "ceil_div(thousandths, denominator)", "int(-(-(thousandths / denominator) // 1))",
    ),
    Mutant(
        "costs-rounded-down", "L7", "A cost is rounded down, below the real one.",
        "Tariff.cost_nano_usd", "ceil_div(thousandths, denominator)", "thousandths // denominator",
    ),
    Mutant(
        "ceilings-rounded-up", "L7", "A ceiling is rounded up when it is converted.",
        "nano_usd", "ROUND_FLOOR", "'ROUND_CEILING'",
    ),
    Mutant(
        "float-usd", "L7", "A price of the data files is read as a float.",
        "nano_usd",
        "(usd * NANO_USD_PER_USD).to_integral_value(ROUND_FLOOR)", "float(usd) * NANO_USD_PER_USD",
    ),
    MigrationMutant(
        "table-takes-anything", "L7", "The table of budgets accepts amounts that are floats or texts.",
        "0001_first_ledger",
        "UNIQUE (rule, window, meter, scope, window_start_us)\n"
        ") STRICT;",
        "UNIQUE (rule, window, meter, scope, window_start_us)\n"
        ");",
    ),
    Mutant(
        "price-not-recorded", "L7", "The price that a hold was valued at is not recorded.",
        "Admission._hold_values",
        "None if call.tariff is None else self._price(call.tariff)", "None",
    ),
    Mutant(
        "price-a-moment-late", "L7", "A new price is not in force at its first moment.",
        "Model.tariff", "bisect_right(..., at_us)", "bisect_right(..., at_us - 1)",
    ),
    Mutant(
        "price-of-the-settlement", "L7", "A hold is charged at the price of the time of its settlement.",
        "Authorizer._tariff_that_served",
        "model = self.policy.catalogue.models.get(response_model)\n"
        "if hold.tariff is None or model is None or model.message.id == hold.model_id:\n"
        "    return hold.tariff\n"
        "served = model.tariff(hold.opened_at_us)",
        "model = self.policy.catalogue.models.get(response_model or hold.model_id)\n"
        "if hold.tariff is None or model is None:\n"
        "    return hold.tariff\n"
        "served = model.tariff(self._clock())",
    ),
    Mutant(
        "other-models-price-of-today", "L7", "The model that answered is charged at its price at the settlement.",
        "Authorizer._tariff_that_served", "hold.opened_at_us", "self._clock()",
    ),
    Mutant(
        "discount-above-the-input", "L7", "More cached tokens than input tokens give a negative cost.",
        "UsageReport.completed",
        "min(self.cached_input_tokens or 0, input_tokens)", "self.cached_input_tokens or 0",
    ),
    Mutant(
        "connectors-for-nothing", "L7", "Tokens that Mistral's connectors add to the input are not charged.",
        "UsageReport.completed",
        "max(0, self.total_tokens - input_tokens - output_tokens)",
        "0 * max(0, self.total_tokens - input_tokens - output_tokens)",
    ),
    Mutant(
        "total-as-the-price", "L7", "A total below the sum of its parts lowers the charge.",
        "UsageReport.completed",
        "max(0, self.total_tokens - input_tokens - output_tokens)",
        "self.total_tokens - input_tokens - output_tokens",
    ),
    Mutant(
        "audio-charged-as-tokens-too", "L7", "Audio in a total of tokens is charged twice.",
        "UsageReport.completed",
        "self.total_tokens and endpoint in BY_TOKENS and (not audio_seconds)",
        "self.total_tokens and endpoint in BY_TOKENS",
    ),
    Mutant(
        "echoed-alias-is-another-model", "L7", "A response that repeats the requested alias is priced as another model.",
        "Authorizer._tariff_that_served", "hold.model_requested", "hold",
    ),
    TextMutant(
        "annotated-pages-not-read", "L5", "Annotated pages in a report are ignored, and charged as held.",
        "_ANNOTATED", "pages_processed_annotation", "annotation",
    ),
]  # fmt: skip

L8 = [
    TextMutant(
        "newest-row-in-force", "L8", "After an anchor went back, reports and adjustments keep to the one between.",
        "latest_limit", "ORDER BY counted_at_us DESC, id DESC", "ORDER BY id DESC",
    ),
    TextMutant(
        "latest-call-not-recorded", "L8", "The row that counted last is not known.",
        "_HOLD", "counted_at_us = ?", "counted_at_us = 0 * ?",
    ),
    TextMutant(
        "row-beyond-its-end-not-reported", "L8", "A report leaves out a row that decisions still count.",
        "_SCOPES", "OR window_start_us = ?", "OR 0 * ?",
    ),
    Mutant(
        "window-set-to-zero", "L8", "A new window resets the rows of the previous one.",
        "GroupBalances.open_window",
        "values = (limit.rule, limit.window.value, limit.meter.value, limit.scope, *span)",
        "wipe = 'UPDATE budgets SET spent = 0, held = 0 WHERE rule = ? AND window_end_us <= ?'\n"
        "self._sql.execute(wipe, (limit.rule, span.start_us))\n"
        "values = (limit.rule, limit.window.value, limit.meter.value, limit.scope, *span)",
    ),
    Mutant(
        "balances-remembered", "L8", "A balance stays cached after it has changed.",
        "Balances",
        "def of(self, limit: Limit, at_us: int) -> Balance:\n"
        "    ...",
        "@__import__('functools').lru_cache(maxsize=None)\n"
        "def of(self, limit: Limit, at_us: int) -> Balance:\n"
        "    ...",
    ),
    TextMutant(
        "windows-share-a-row", "L8", "The first call of a day counts in the row of the day before.",
        "_SUMS",
        "max(CASE WHEN window_start_us = ?7 THEN id END)",
        "max(CASE WHEN window_start_us <= ?7 THEN id END)",
    ),
]  # fmt: skip

L9 = [
    Mutant(
        "correction-of-what-was-pruned", "L9", "The time is set back into windows whose budgets were pruned.",
        "_planned", "to_us < (pruning.before_us or from_us)", "False",
    ),
    Mutant(
        "prunings-of-unknown-reach", "L9", "A pruning of an older version is taken for one that deleted no window.",
        "_planned", "pruning.before_us or from_us", "pruning.before_us",
    ),
    Mutant(
        "reach-of-prunings-forgotten", "L9", "Only the last pruning counts, although an earlier one deleted later windows.",
        "DecisionChain.prune", "max(before_us, earlier.before_us or latest_us)", "before_us",
    ),
    TextMutant(
        "windows-ahead-count", "L9", "After a correction of the time, calls are denied because of what windows ahead have spent.",
        "STILL_OPEN", " AND window_start_us < ?8", "",
    ),
    Mutant(
        "minute-ahead-not-counted", "L1", "After a correction of the time, 60 seconds that have admissions of both passes admit too much.",
        "still_open", "span.start_us + SECOND_US + MINUTE_US if is_minute else span.end_us",
        "span.start_us + SECOND_US if is_minute else span.end_us",
    ),
    TextMutant(
        "second-pass-shortens-a-second", "L1", "After a correction of the time, a call shortens how long later ones of its second count.",
        "_HOLD", "max(?, iif(window = 'minute', window_end_us, 0))", "?",
    ),
    Mutant(
        "holds-ahead-stay-open", "L5", "After a correction of the time, holds of the wrong time stay open until then.",
        "_correct", "Settlements(...).expire_from(planned.to_us)", "pass",
    ),
    TextMutant(
        "prune-waits-for-the-wrong-time", "L9", "After a correction of the time, nothing is pruned until the wrong time has come.",
        "_OLDEST", "d.decided_at_us < ?2 OR d.id <= corrected", "d.decided_at_us < ?2",
    ),
    TextMutant(
        "closed-in-the-wrong-time-is-old", "L3", "A hold that was closed just before a correction of the time is pruned at once.",
        "_OLDEST", "OR d.id <= corrected AND h.closed_at_us", "OR h.closed_at_us",
    ),
    TextMutant(
        "limit-of-the-wrong-time-in-force", "L8", "After a correction of the time, adjustments keep to the window that a rule had in the wrong time.",
        "_correct", "SET counted_at_us = ?1 WHERE", "SET counted_at_us = counted_at_us + 0 * ?1 WHERE",
    ),
    TextMutant(
        "correction-forgotten", "L9", "A restart after a correction of the time goes on with the wrong time.",
        "_LATEST_US", "WHERE follows = latest.id", "WHERE follows < 0",
    ),
    Mutant(
        "clock-may-go-back", "L9", "After the clock was set back, decisions use earlier prices and times.",
        "GuardedClock.__call__", "now_us > self._now_us", "True",
    ),
    Mutant(
        "clock-starts-anew", "L9", "After a restart, decisions may use a time before the last decision.",
        "_clock", "GuardedClock(..., ledger_us)", "GuardedClock(...)",
    ),
    Mutant(
        "clock-may-jump", "L9", "A clock that jumps far ahead closes windows and prunes what is young.",
        "GuardedClock.__call__", "wall_us <= passed_us + MAX_JUMP_US", "True",
    ),
    Mutant(
        "ledger-time-may-go-back", "L9", "After the clock was set back, a window that has ended counts again.",
        "LedgerTime.advance", "max(self.latest_us, at_us)", "at_us",
    ),
    Mutant(
        "ledger-time-starts-anew", "L9", "After a restart with the clock set back, a window that has ended counts again.",
        "LedgerTime.__init__", "(latest.fetchone() or (0,))[0]", "0",
    ),
    TextMutant(
        "ledger-time-of-allowed-calls", "L9", "After a restart with the clock set back, the time of the last denial is forgotten.",
        "_LATEST_US", "FROM denials ORDER BY id DESC", "FROM denials WHERE 0 ORDER BY id DESC",
    ),
    TextMutant(
        "prune-the-latest", "L9", "Pruning removes the decision that keeps the ledger's time.",
        "_OLDEST", "d.id < (SELECT max(id) FROM decisions)", "1",
    ),
    TextMutant(
        "prune-the-latest-denial", "L9", "Pruning removes the denial that keeps the ledger's time.",
        "_OLD", "WHERE id < (SELECT max(id) FROM denials)", "",
    ),
    Mutant(
        "repeated-hour-given-twice", "L9", "The hour that the clocks repeat has two windows.",
        "Calendar._find",
        "start_us = self._first_shown_us(begins)\n"
        "while True:\n"
        "    begins = _next(window, begins)\n"
        "    end_us = self._first_shown_us(begins)\n"
        "    if end_us > at_us:\n"
        "        ...\n"
        "    start_us = end_us",
        "start_us = self._instant(begins, to_datetime(at_us).astimezone(self._zone).fold)\n"
        "while True:\n"
        "    begins = _next(window, begins)\n"
        "    end_us = self._first_shown_us(begins)\n"
        "    if end_us > at_us:\n"
        "        ...\n"
        "    start_us = end_us",
    ),
    Mutant(
        "clocks-set-back-open-the-window-before", "L9", "When the clocks are set back, the window before starts again.",
        "Calendar._find", "end_us > at_us", "end_us",
    ),
    Mutant(
        "skipped-time-begins-late", "L9", "A window whose start the clocks skip starts too late.",
        "Calendar._first_shown_us", "first_us <= second_us", "first_us",
    ),
]  # fmt: skip
