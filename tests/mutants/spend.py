"""Mutants of how holds are charged, counted and timed: L2 and L5 to L9."""

from mutants.mutant import Mutant

_LATE = "if state in (HoldState.OPEN, HoldState.EXPIRED):\n            self._move(row, state, "

L2 = [
    Mutant(
        "closed-hold-still-held", "L2", "A budget keeps the hold beside its charge.",
        "ledger/settlement.py", "amount.held if state is HoldState.OPEN else 0,", "0,",
    ),
    Mutant(
        "expired-hold-given-back-twice", "L2", "A late Settle frees what others hold.",
        "ledger/settlement.py", "amount.held if state is HoldState.OPEN else 0,", "amount.held,",
    ),
    Mutant(
        "charge-not-on-the-hold", "L2", "A budget is charged, and no hold says for what.",
        "ledger/settlement.py",
        "UPDATE hold_amounts SET charged = ? WHERE",
        "UPDATE hold_amounts SET charged = 0 * ? WHERE",
    ),
    Mutant(
        "late-charge-added", "L2", "A late Settle adds to what expiry charged.",
        "ledger/settlement.py", "charged - amount.charged,", "charged,",
    ),
    Mutant(
        "verify-blind-to-missing-holds", "L2", "A counter that lost a hold passes verification.",
        "ledger/verify.py",
        "HAVING b.held <> coalesce(sum(x.held), 0)",
        "HAVING b.held > coalesce(sum(x.held), 0)",
    ),
    Mutant(
        "verify-blind-to-double-charges", "L2", "A counter that counted twice passes verification.",
        "ledger/verify.py",
        "HAVING b.spent <> coalesce(sum(x.charged), 0)",
        "HAVING b.spent < coalesce(sum(x.charged), 0)",
    ),
    Mutant(
        "verify-blind-to-costs", "L2", "A hold and its budgets may disagree on its cost.",
        "ledger/verify.py", "WHERE h.state = 'settled' AND b.window", "WHERE h.state = 'x' AND b.window",
    ),
    Mutant(
        "verify-blind-to-lost-holds", "L2", "An Allow whose hold is gone passes verification.",
        "ledger/verify.py",
        "WHERE (d.effect = 'allow') <> (h.id IS NOT NULL)",
        "WHERE (d.effect = 'allow') < (h.id IS NOT NULL)",
    ),
    Mutant(
        "verify-blind-to-charged-releases", "L5", "A released hold with a charge passes.",
        "ledger/verify.py", "WHERE h.state IN ('open', 'released')", "WHERE h.state IN ('open')",
    ),
    Mutant(
        "verify-blind-to-negative-amounts", "L7", "A budget of less than nothing passes.",
        "ledger/verify.py", "budgets WHERE held < 0 OR", "budgets WHERE",
    ),
    Mutant(
        "verify-blind-to-missing-prices", "L7", "A cost without a price passes verification.",
        "ledger/verify.py", "WHERE price IS NULL AND", "WHERE price IS NULL AND 0 AND",
    ),
    Mutant(
        "verify-blind-to-altered-decisions", "L2", "A decision that was rewritten passes.",
        "ledger/chain.py", "        if link != _link(previous, *content):\n", "        if not link:\n",
    ),
    Mutant(
        "chain-without-holds", "L2", "What a decision held can be rewritten unseen.",
        "ledger/chain.py", "_to_json([row, hold, amounts])", "_to_json([row])",
    ),
    Mutant(
        "chain-without-the-previous", "L2", "A decision can be taken out unseen.",
        "ledger/chain.py", "sha256(previous + content.encode())", "sha256(content.encode())",
    ),
    Mutant(
        "prune-loses-the-link", "L2", "After pruning, nobody can tell what went before.",
        "ledger/settlement.py", '(decision, chain) VALUES (?,?)", (last, link)', '(decision, chain) VALUES (?,?)", (last, b"")',
    ),
    Mutant(
        "adjustment-not-counted", "L2", "A correction is on record, and changes nothing.",
        "ledger/adjustments.py", "SET spent = spent + ?, window", "SET spent = spent + 0 * ?, window",
    ),
    Mutant(
        "prune-keeps-the-sum", "L2", "A budget counts holds that are forgotten.",
        "ledger/settlement.py", "SET spent = spent -\n", "SET spent = spent - 0 *\n",
    ),
    Mutant(
        "prune-open-windows", "L2", "A month forgets its first days.",
        "ledger/settlement.py", "AND b.window_end_us >= ?2))", "AND b.window_start_us >= ?2))",
    ),
    Mutant(
        "prune-open-holds", "L2", "A hold is forgotten before its call has ended.",
        "ledger/settlement.py", "h.state <> 'open' AND h.closed_at_us", "coalesce(h.closed_at_us, 0)",
    ),
    Mutant(
        "prune-at-once", "L3", "The retention is not waited for.",
        "ledger/settlement.py",
        "self._balances.advance(at_us) - retention_us",
        "self._balances.advance(at_us)",
    ),
    Mutant(
        "prune-what-was-closed-late", "L3", "A hold that was just closed is unknown to a repeat.",
        "ledger/settlement.py", "AND h.closed_at_us < ?2 AND NOT", "AND ?2 AND NOT",
    ),
]  # fmt: skip

L5 = [
    Mutant(
        "unrecognized-usage-unsaid", "L5", "Nothing says that a usage was not understood.",
        "ledger/settlement.py", "                settlement.unrecognized_usage,\n", "                False,\n",
    ),
    Mutant(
        "unrecognized-usage-of-the-second-settle", "L3", "A second Settle has a flag of its own.",
        "ledger/settlement.py", "bool(unrecognized_usage))", "False)",
    ),
    Mutant(
        "expiry-forgotten", "L5", "A hold that nobody closes is held for ever.",
        "ledger/settlement.py",
        "WHERE state = 'open' AND expires_at_us <= ?",
        "WHERE state = 'gone' AND expires_at_us <= ?",
    ),
    Mutant(
        "nobody-expires", "L5", "The running sidecar never looks for holds that are due.",
        "runtime/maintenance.py", "lambda: ledger.expire(clock())", "lambda: asyncio.sleep(0, 0)",
    ),
    Mutant(
        "expiry-too-late", "L5", "A hold outlives its time.",
        "ledger/settlement.py", "AND expires_at_us <= ?", "AND expires_at_us < ?",
    ),
    Mutant(
        "unknown-is-free", "L5", "A hold that expires costs nothing.",
        "ledger/settlement.py", "amount.held * amount.charge_on_expiry", "0",
    ),
    Mutant(
        "expiry-always-charges", "L5", "`on_expiry: release` charges all the same.",
        "ledger/settlement.py", "amount.held * amount.charge_on_expiry", "amount.held",
    ),
    Mutant(
        "released-is-spend", "L5", "What every budget gave back is in the sum of spend.",
        "ledger/settlement.py", "        cost_nano_usd = 0\n", "        pass\n",
    ),
    Mutant(
        "released-by-one-is-released", "L5", "One limit that releases hides what another charged.",
        "ledger/settlement.py", "return any(counted) if counted", "return all(counted) if counted",
    ),
    Mutant(
        "uncounted-is-released", "L5", "What no limit counts leaves the sum when it expires.",
        "ledger/settlement.py", "if counted else None", "if counted else False",
    ),
    Mutant(
        "verify-blind-to-unknown-outcomes", "L2", "A cost that no budget was charged passes.",
        "ledger/verify.py",
        "HAVING h.charged_cost_nano_usd <> coalesce(",
        "HAVING h.charged_cost_nano_usd < coalesce(",
    ),
    Mutant(
        "on-expiry-not-passed-on", "L5", "The rule's `on_expiry` never reaches the ledger.",
        "authorization/request_evaluation.py", "rule.limit is None or rule.limit.charge_on_expiry", "True",
    ),
    Mutant(
        "late-settle-ignored", "L5", "What expiry charged is never corrected.",
        "ledger/settlement.py", f"{_LATE}charge)", f"{_LATE}charge)".replace(", HoldState.EXPIRED", ","),
    ),
    Mutant(
        "late-release-ignored", "L5", "A call that was never sent stays charged.",
        "ledger/settlement.py", f"{_LATE}lambda", f"{_LATE}lambda".replace(", HoldState.EXPIRED", ","),
    ),
    Mutant(
        "unreported-is-free", "L5", "Counts that the report leaves out cost nothing.",
        "domain/usage.py", "return held if reported is None else reported", "return reported or 0",
    ),
    Mutant(
        "overrun-cut-off", "L5", "Use above the hold is not charged.",
        "ledger/settlement.py",
        "return actual.get(amount.limit.meter, amount.held)",
        "return min(actual.get(amount.limit.meter, amount.held), amount.held)",
    ),
    Mutant(
        "own-ttl-ignored", "L5", "A call's own hold_ttl is not listened to.",
        "authorization/authorizer.py", "_hold_ttl_us(request) or self._hold_ttl_us", "self._hold_ttl_us",
    ),
]  # fmt: skip

L6 = [
    Mutant(
        "settles-into-today", "L6", "Yesterday's call is charged to today's budget.",
        "ledger/settlement.py",
        "                    charged - amount.charged,\n                    amount.budget_row,",
        "                    charged - amount.charged,\n"
        "                    self._balances.of(amount.limit, self._balances.advance(0)).row\n"
        "                    or amount.budget_row,",
    ),
    Mutant(
        "month-ends-early", "L6", "A month ends when it has 31 days.",
        "domain/windows.py", "timedelta(days=32)", "timedelta(days=30)",
    ),
    Mutant(
        "day-is-24-hours", "L6", "The day that summer time ends has an hour too few.",
        "domain/windows.py",
        "            end_us = self._first_shown_us(begins)\n",
        "            end_us = self._first_shown_us(begins)\n"
        "            if window is Window.DAY:\n"
        "                end_us = start_us + 86_400 * SECOND_US\n",
    ),
    Mutant(
        "zone-ignored", "L6", "Windows follow UTC in every zone.",
        "domain/windows.py", "to_datetime(at_us).astimezone(self._zone)", "to_datetime(at_us).astimezone(UTC)",
    ),
    Mutant(
        "zone-not-passed-on", "L6", "`--time-zone` never reaches the ledger.",
        "runtime/serve.py", "        ZoneInfo(settings.time_zone),\n", "        ZoneInfo('UTC'),\n",
    ),
]  # fmt: skip

L7 = [
    Mutant(
        "float-money", "L7", "A cost is a quotient of floats.",
        "domain/prices.py",
        "ceil_div(thousandths, denominator)",
        "int(-(-(thousandths / denominator) // 1))",
    ),
    Mutant(
        "costs-rounded-down", "L7", "A cost may be below the real one.",
        "domain/prices.py", "ceil_div(thousandths, denominator)", "thousandths // denominator",
    ),
    Mutant(
        "ceilings-rounded-up", "L7", "A ceiling is widened by its conversion.",
        "domain/money.py", "to_integral_value(ROUND_FLOOR)", 'to_integral_value("ROUND_CEILING")',
    ),
    Mutant(
        "float-usd", "L7", "A price of the data files is read as a float.",
        "domain/money.py",
        "int((usd * NANO_USD_PER_USD).to_integral_value(ROUND_FLOOR))",
        "int(float(usd) * NANO_USD_PER_USD)",
    ),
    Mutant(
        "table-takes-anything", "L7", "A budget may hold a float or a text.",
        "ledger/schema.py",
        "UNIQUE (rule, window, meter, scope, window_start_us)\n) STRICT;",
        "UNIQUE (rule, window, meter, scope, window_start_us)\n);",
    ),
    Mutant(
        "price-not-recorded", "L7", "Nobody can tell which price a hold was valued at.",
        "ledger/admission.py", "None if call.tariff is None else self._price(call.tariff),", "None,",
    ),
    Mutant(
        "price-a-moment-late", "L7", "A new price is not in force in its first moment.",
        "policy/catalogue.py", "bisect_right(self.tariffs, at_us,", "bisect_right(self.tariffs, at_us - 1,",
    ),
    Mutant(
        "price-of-the-settlement", "L7", "A new price applies to what is already held.",
        "authorization/authorizer.py",
        "        model = self.policy.catalogue.models.get(response_model)\n"
        "        if hold.tariff is None or model is None or model.message.id == hold.model_id:\n"
        "            return hold.tariff\n"
        "        served = model.tariff(hold.opened_at_us)\n",
        "        model = self.policy.catalogue.models.get(response_model or hold.model_id)\n"
        "        if hold.tariff is None or model is None:\n"
        "            return hold.tariff\n"
        "        served = model.tariff(self._clock())\n",
    ),
    Mutant(
        "other-models-price-of-today", "L7", "The model that answered is charged as of today.",
        "authorization/authorizer.py", "model.tariff(hold.opened_at_us)", "model.tariff(self._clock())",
    ),
    Mutant(
        "discount-above-the-input", "L7", "More cached tokens than input make a call a gain.",
        "domain/usage.py", "min(self.cached_input_tokens or 0, input_tokens)", "self.cached_input_tokens or 0",
    ),
    Mutant(
        "connectors-for-nothing", "L7", "What Mistral's connectors put before the model is free.",
        "domain/usage.py", "input_tokens += max(0, self.total_tokens", "input_tokens += 0 * max(0, self.total_tokens",
    ),
    Mutant(
        "total-as-the-price", "L7", "A total that is too small lowers what is charged.",
        "domain/usage.py", "input_tokens += max(0, self.total_tokens", "input_tokens += (self.total_tokens",
    ),
    Mutant(
        "audio-charged-as-tokens-too", "L7", "The audio in a total is charged twice.",
        "domain/usage.py", "endpoint in BY_TOKENS and not audio_seconds:", "endpoint in BY_TOKENS:",
    ),
    Mutant(
        "echoed-alias-is-another-model", "L7", "A response that repeats the alias is priced anew.",
        "authorization/authorizer.py", "if response_model == hold.model_requested:", "if response_model == hold:",
    ),
    Mutant(
        "annotated-pages-not-read", "L5", "Pages that were annotated are charged as held.",
        "domain/usage_json.py", '_ANNOTATED = "pages_processed_annotation"', '_ANNOTATED = "annotation"',
    ),
]  # fmt: skip

L8 = [
    Mutant(
        "window-set-to-zero", "L8", "A new window wipes the counters of the last.",
        "ledger/group_balances.py",
        "        limit, span = balance.limit, balance.span\n",
        "        limit, span = balance.limit, balance.span\n"
        "        wipe = 'UPDATE budgets SET spent = 0, held = 0 WHERE rule = ? AND window_end_us <= ?'\n"
        "        self._sql.execute(wipe, (limit.rule, span.start_us))\n",
    ),
    Mutant(
        "balances-remembered", "L8", "A limit stands as it stood when it was last read.",
        "ledger/balances.py",
        "    def of(self, limit: Limit, at_us: int) -> Balance:\n",
        "    @__import__('functools').lru_cache(maxsize=None)\n"
        "    def of(self, limit: Limit, at_us: int) -> Balance:\n",
    ),
    Mutant(
        "windows-share-a-row", "L8", "The day's first call counts in yesterday's row.",
        "ledger/balances.py",
        "max(CASE WHEN window_start_us = ?7 THEN id END)",
        "max(CASE WHEN window_start_us <= ?7 THEN id END)",
    ),
]  # fmt: skip

L9 = [
    Mutant(
        "clock-may-go-back", "L9", "A clock set back brings older prices and rules' times back.",
        "domain/clock.py", "latest_us = max(latest_us, clock())", "latest_us = clock()",
    ),
    Mutant(
        "clock-starts-anew", "L9", "After a restart, time may be before the last decision.",
        "runtime/serve.py", "never_back(wall_clock_us, ledger_us)", "never_back(wall_clock_us)",
    ),
    Mutant(
        "ledger-time-may-go-back", "L9", "A clock set back opens a window again.",
        "ledger/balances.py", "self.latest_us = max(self.latest_us, at_us)", "self.latest_us = at_us",
    ),
    Mutant(
        "ledger-time-starts-anew", "L9", "A restart after the clock was set back opens a window.",
        "ledger/balances.py", "(latest.fetchone() or (0,))[0]", "0",
    ),
    Mutant(
        "prune-the-latest", "L9", "Pruning takes the ledger's time with it.",
        "ledger/settlement.py", " AND d.id < (SELECT max(id) FROM decisions)", "",
    ),
    Mutant(
        "repeated-hour-given-twice", "L9", "The hour that the clocks repeat has two budgets.",
        "domain/windows.py",
        "start_us = self._first_shown_us(begins)",
        "start_us = self._instant(begins, to_datetime(at_us).astimezone(self._zone).fold)",
    ),
    Mutant(
        "clocks-set-back-open-the-window-before", "L9", "An hour that was over is begun again.",
        "domain/windows.py", "            if end_us > at_us:\n", "            if end_us:\n",
    ),
    Mutant(
        "skipped-time-begins-late", "L9", "An hour whose beginning is skipped begins too late.",
        "domain/windows.py", "if first_us <= second_us:", "if first_us:",
    ),
]  # fmt: skip
