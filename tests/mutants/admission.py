"""Mutants of how calls are admitted, repeated and committed: L1, L3 and L4."""

from mutants.mutant import MigrationMutant, Mutant, TextMutant

L1 = [
    Mutant(
        "limits-not-checked", "L1", "Every call is admitted, whatever is spent.",
        "Balance.fits_ceiling", "fits(self.limit.ceiling, self.spent + self.held, amount)", "True",
    ),
    Mutant(
        "ceiling-never-reached", "L1", "The last unit of a budget cannot be used.",
        "fits", "used + amount <= ceiling", "used + amount < ceiling",
    ),
    Mutant(
        "holds-do-not-count", "L1", "Calls in flight take no room.",
        "Balance.fits_ceiling", "self.spent + self.held", "self.spent",
    ),
    Mutant(
        "spend-does-not-count", "L1", "What is settled takes no room.",
        "Balance.fits_ceiling", "self.spent + self.held", "self.held",
    ),
    Mutant(
        "own-hold-does-not-count", "L1", "A call is admitted while anything is left, however large the call is.",
        "fits", "used + amount <= ceiling", "used < ceiling",
    ),
    Mutant(
        "free-call-needs-room", "L1", "A model that costs nothing is denied once a budget is over.",
        "fits", "if amount == 0:\n    return ceiling > 0 or used < 0", "",
    ),
    Mutant(
        "free-call-passes-zero", "L1", "A ceiling of 0 does not stop a call that takes nothing.",
        "fits", "ceiling > 0 or used < 0", "True",
    ),
    Mutant(
        "only-first-limit-checked", "L1", "Only the first limit of a call is checked.",
        "check_reservation",
        "[(d, balance) for d, balance in checked if not balance.fits(d.amount)]",
        "[(d, balance) for d, balance in checked[:1] if not balance.fits(d.amount)]",
    ),
    Mutant(
        "refused-call-keeps-holds", "L1", "A refused call leaves holds on the limits that had room.",
        "Admission._record",
        "if not decision.hold_id:\n"
        "    budgets = rows.budgets_to_json(decision.budgets)\n"
        "    self._denials.record(...)\n"
        "    return\n"
        "held = [(self._balances.hold(balance, line.amount), line) for line, balance in checked]",
        "if not decision.hold_id:\n"
        "    budgets = rows.budgets_to_json(decision.budgets)\n"
        "    self._denials.record(...)\n"
        "    for line, balance in checked:\n"
        "        if balance.fits(line.amount):\n"
        "            self._balances.hold(balance, line.amount)\n"
        "    return\n"
        "held = [(self._balances.hold(balance, line.amount), line) for line, balance in checked]",
    ),
    Mutant(
        "too-large-gets-retry-after", "L1", "A call larger than its budget gets a retry_after, and retries forever.",
        "_refusal",
        "if too_small:\n"
        "    ...",
        "if False:\n"
        "    ...",
    ),
    Mutant(
        "shadow-limit-too-small", "L1", "A shadow limit can cause the answer that waiting does not help.",
        "_refusal",
        "enforced = [(d, balance) for d, balance in refused if not d.shadow]\n"
        "reasons = tuple(...)\n"
        "shadow_reasons = tuple(...)\n"
        "too_small = [(d, balance) for d, balance in enforced if balance.never_fits(d.amount)]",
        "enforced = [(d, balance) for d, balance in refused if not d.shadow]\n"
        "reasons = tuple(...)\n"
        "shadow_reasons = tuple(...)\n"
        "too_small = [(d, balance) for d, balance in refused if balance.never_fits(d.amount)]",
    ),
    Mutant(
        "as-large-as-the-budget", "L1", "A call exactly as large as its budget gets the answer that waiting does not help.",
        "Balance.never_fits",
        "fits(self.limit.ceiling, min(self.spent, 0), amount)",
        "fits(self.limit.ceiling, min(self.spent, 0), amount + 1)",
    ),
    Mutant(
        "grant-ignored-for-too-large", "L1", "A grant that makes room for a call is ignored when the call is compared with its budget.",
        "Balance.never_fits", "min(self.spent, 0)", "0",
    ),
    Mutant(
        "larger-than-what-is-left", "L1", "A full budget gives the answer that waiting does not help.",
        "Balance.never_fits", "min(self.spent, 0)", "self.spent",
    ),
    Mutant(
        "preview-counts-due-holds", "L5", "A dry run is refused because of a hold that has expired.",
        "CommittedReads.__init__", "PreviewBalances", "Balances",
    ),
    TextMutant(
        "preview-ignores-expiry-charges", "L5", "A dry run counts a hold that is due as free, although expiry will charge it.",
        "_FREED_BY_EXPIRY", "AND (?9 OR NOT a.charge_on_expiry)", "AND (?9 OR 1)",
    ),
    Mutant(
        "preview-moves-time", "L9", "A dry run for a later time moves the ledger's time forward.",
        "CommittedReads.preview", "self._time.peek", "self._time.advance",
    ),
    Mutant(
        "group-calls-unseen", "L1", "Calls of one group commit do not count each other's holds.",
        "SqliteLedger._group_balances",
        "GroupBalances(self._writer, ...)", "GroupBalances(self._reader, ...)",
    ),
    Mutant(
        "group-holds-not-added", "L1", "A group's balance does not grow with the holds of its calls.",
        "GroupBalances.hold",
        "cached.held += amount\n"
        "cached.added += amount",
        "cached.added += amount",
    ),
    Mutant(
        "group-outlives-its-window", "L1", "A group that began before midnight counts its later calls in the day before.",
        "GroupBalance.counts",
        "span.start_us == self.start_us and (self.ends_us is None or at_us < self.ends_us)",
        "self.ends_us is None or at_us < self.ends_us",
    ),
    Mutant(
        "row-ends-after-its-group", "L1", "A row that ends while a group is collected still counts for the rest of the group.",
        "GroupBalance.counts", "at_us < self.ends_us", "self.ends_us",
    ),
    Mutant(
        "group-holds-not-written", "L2", "The holds of a group are never written.",
        "SqliteLedger.__init__", "GroupCommit(..., finish=balances.write)", "GroupCommit(...)",
    ),
    Mutant(
        "closed-not-written", "L2", "What the holds of a group free and are charged is never written.",
        "GroupBalances.write", "self._write_closed()", "pass",
    ),
    Mutant(
        "closed-not-read", "L1", "What a group has charged is missing in a balance that it reads later.",
        "GroupBalances.sums", "self._write_closed()", "pass",
    ),
    Mutant(
        "closed-written-twice", "L2", "What a group frees and charges is written again at its end.",
        "GroupBalances._write_closed", "budget.freed = budget.charged = 0", "pass",
    ),
    Mutant(
        "burn-without-its-group", "A1", "What the calls of a group are charged is not seen by the search for burning limits in it.",
        "Alerts.burn", "self._balances.write()", "pass",
    ),
    Mutant(
        "adjustment-not-seen", "L1", "An adjustment does not count for the calls of its own group.",
        "Adjustments.adjust",
        "self._balances.write()\n"
        "values = (at_us, row, amount, signed_by, reason)",
        "values = (at_us, row, amount, signed_by, reason)",
    ),
    Mutant(
        "expiry-not-seen", "L1", "What a hold that expires within a group releases is not there for the rest of the group.",
        "GroupBalances.close",
        "cached.held -= freed\n"
        "cached.spent += charged",
        "cached.spent += charged",
    ),
    Mutant(
        "overrun-not-seen", "L1", "What is settled does not count for the rest of its group.",
        "GroupBalances.close",
        "cached.held -= freed\n"
        "cached.spent += charged",
        "cached.held -= freed",
    ),
    Mutant(
        "overrun-of-another-row-not-seen", "L1", "What is settled in an earlier second of a minute does not count for the rest of its group.",
        "GroupBalances.close", "self._write([self._cached.pop(key)])", "pass",
    ),
    Mutant(
        "wait-without-group-holds", "L1", "retry_after ignores the holds of the call's own group.",
        "GroupBalances.wait_us",
        "self.write()\n"
        "return super().wait_us(balance, amount)",
        "return super().wait_us(balance, amount)",
    ),
    Mutant(
        "rolled-back-holds-remembered", "L2", "The holds of a group that failed are written by the next group.",
        "SqliteLedger._forget",
        "self._balances.forget()\n"
        "self._admission.forget()",
        "self._admission.forget()",
    ),
    Mutant(
        "authorize-before-settle", "L1", "In a group, calls are decided before earlier settlements are applied.",
        "GroupCommit._drain", "sorted(group, key=lambda request: not request.frees_room)", "group",
    ),
    Mutant(
        "share-rounds-up", "L1", "The shares of a ceiling add up to more than the ceiling.",
        "Share.of", "ceiling * self.part // self.parts", "-(-ceiling * self.part // self.parts)",
    ),
    Mutant(
        "minute-by-the-clock", "L1", "The minute window starts again at every full minute, and does not slide.",
        "Calendar.span",
        "Span(..., at_us - at_us % SECOND_US, at_us + MINUTE_US)",
        "Span(..., at_us - at_us % MINUTE_US, at_us - at_us % MINUTE_US + MINUTE_US)",
    ),
    Mutant(
        "minute-of-59-seconds", "L1", "A row of the minute window ends 60 seconds after the start of its second, and not after its last admission.",
        "Calendar.span", "at_us + MINUTE_US", "at_us - at_us % SECOND_US + MINUTE_US",
    ),
    TextMutant(
        "second-not-prolonged", "L1", "A later admission in the same second does not extend the row of that second.",
        "_HOLD",
        "window_end_us = max(?, iif(window = 'minute', window_end_us, 0)), starts_on",
        "window_end_us = coalesce(window_end_us, ?), starts_on",
    ),
    Mutant(
        "lowered-ceiling-ignored", "L1", "A window keeps the ceiling that its first call had.",
        "GroupBalances.of",
        "return Balance(limit, at_us, span, cached.row, cached.spent, cached.held)",
        "if cached.row is not None:\n"
        "    first = 'SELECT ceiling FROM budgets WHERE id = ?'\n"
        "    ceiling, = self._sql.execute(first, (cached.row,)).fetchone()\n"
        "    limit = limit._replace(ceiling=ceiling)\n"
        "return Balance(limit, at_us, span, cached.row, cached.spent, cached.held)",
    ),
    Mutant(
        "concurrent-spends", "L1", "A closed hold still counts as a concurrent call.",
        "Settlements._move",
        "0 if amount.limit.window is Window.CONCURRENT else charge(amount)", "charge(amount)",
    ),
    Mutant(
        "due-hold-still-counts", "L1", "A call that waited for its retry_after is refused because of holds that are due.",
        "SqliteLedger._decide", "self._settlements.expire(reservation.at_us)", "pass",
    ),
    Mutant(
        "month-of-30-days", "L1", "On the 31st, rows from the first of the month are not read.",
        "HORIZON_US", "32", "30",
    ),
    TextMutant(
        "scopes-share-a-budget", "L1", "All scopes of a limit count against one budget.",
        "STILL_OPEN", "AND scope = ?4", "AND ?4 <> ''",
    ),
    TextMutant(
        "row-of-the-old-zone-inserted-twice", "L8", "After a change of the time zone, a row whose window has ended in the old zone is inserted again.",
        "STILL_OPEN", " OR window_start_us = ?7)", ")",
    ),
    TextMutant(
        "row-of-the-old-zone-forgotten", "L1", "After a change of the time zone, every budget starts at zero.",
        "STILL_OPEN", "(window_end_us > ?6 OR window_start_us = ?7)", "window_start_us = ?7",
    ),
    TextMutant(
        "wait-until-the-old-zone-ended", "L1", "After a change of the time zone, retry_after ends with the window of the old zone, and is too short.",
        "_ENDS", "ELSE ?8 END, spent", "ELSE window_end_us END, spent",
    ),
    Mutant(
        "choices-not-held", "L1", "The output of only one of several choices is held.",
        "worst_case", "output_tokens * choices", "output_tokens",
    ),
    Mutant(
        "four-bytes-a-token", "L1", "The bound on input tokens assumes four bytes a token.",
        "_size", "estimate.input_bytes", "estimate.input_bytes // 4",
    ),
    Mutant(
        "no-price-is-free", "L1", "A unit without a price is held at no cost.",
        "Tariff.bound_nano_usd", "price is None", "False",
    ),
    Mutant(
        "two-writers", "L1", "Two sidecars can write one ledger, each with balances of its own.",
        "lock", "fcntl.LOCK_EX", "fcntl.LOCK_SH",
    ),
]  # fmt: skip

L3 = [
    Mutant(
        "replay-ignores-content", "L3", "A request_id that was used for another call returns that call's decision.",
        "recorded_decision", "fingerprint != call.fingerprint", "not fingerprint",
    ),
    Mutant(
        "fingerprint-without-content", "L3", "The fingerprint of a request does not cover its content.",
        "_fingerprint",
        "request.SerializeToString(deterministic=True)", "request.request_id.encode()",
    ),
    Mutant(
        "fingerprint-without-estimate", "L3", "The fingerprint of a request does not cover its estimate.",
        "_fingerprint",
        "request.SerializeToString(deterministic=True)",
        "f'{request.principal}{request.model}{request.endpoint}'.encode()",
    ),
    Mutant(
        "replay-holds-again", "L3", "A replay is decided as a new call.",
        "Admission._decision_values", "request_key(call)", "None",
    ),
    Mutant(
        "request-ids-of-all", "L3", "A caller gets ALREADY_EXISTS for the request_id of another.",
        "request_key",
        '["", call.owner] if call.owner else [call.principal_id, call.workspace]', "[]",
    ),
    Mutant(
        "denials-not-replayed", "L3", "A replay of a denied call is decided again.",
        "Admission._decision_values",
        "(decision.decision_id, request_key(call), ...)",
        "(decision.decision_id, request_key(call) if decision.hold_id else None, ...)",
    ),
    Mutant(
        "replay-without-reasons", "L3", "A replay of a denial has no reasons.",
        "_replayed",
        "Decision(..., reasons=rows.reasons_from_json(reasons))", "Decision(..., reasons=())",
    ),
    Mutant(
        "replay-without-expiry", "L3", "A replay has no time at which its hold expires.",
        "_replayed",
        "Decision(..., hold_expires_at_us=expires_at_us or 0)",
        "Decision(..., hold_expires_at_us=0)",
    ),
    Mutant(
        "replay-looks-new", "L3", "A replay is not marked as a replay.",
        "_replayed", "Decision(..., replayed=True)", "Decision(...)",
    ),
    Mutant(
        "replay-is-always-open", "L3", "A replay of a settled call says that its hold is open.",
        "_replayed",
        "Decision(..., hold_id=hold_id or '', hold_state=hold_state)",
        "Decision(..., hold_id=hold_id or '', hold_state=hold_id and HoldState.OPEN)",
    ),
    Mutant(
        "due-hold-is-open-to-a-replay", "L3", "A replay says that a hold is open which is due to expire.",
        "_replayed", "hold_state is HoldState.OPEN and expires_at_us <= at_us", "False",
    ),
    Mutant(
        "second-settle-counts", "L3", "A second Settle replaces the usage of the first.",
        "Settlements.settle",
        "found.hold.state in (HoldState.OPEN, HoldState.EXPIRED)", "found.hold.state is not HoldState.RELEASED",
    ),
    Mutant(
        "settled-twice-charged-twice", "L3", "A second Settle is charged in addition to the first.",
        "Settlements.settle",
        "return self._charge(found, amounts, settlement.at_us)",
        "again = settlement.used.tokens * (found.hold.state is HoldState.SETTLED)\n"
        "self._sql.execute('UPDATE budgets SET spent = spent + ? WHERE id IN (SELECT budget FROM hold_amounts WHERE hold = ?)', (again, found.row))\n"
        "return self._charge(found, amounts, settlement.at_us)",
    ),
    MigrationMutant(
        "replay-ends-as-now", "L3", "A replay has the end that a window has by now, as in another time zone.",
        "0017_packed_budgets",
        "ELSE b.window_start_us + (a.value ->> 1) * 1000000 END",
        "WHEN a.value ->> 1 THEN b.window_end_us END",
    ),
    MigrationMutant(
        "replay-has-holds-as-spend", "L3", "A replay has what was held then for what was spent.",
        "0017_packed_budgets", "a.value ->> 3) AS spent", "a.value ->> 4) AS spent",
    ),
    Mutant(
        "any-id-of-the-row", "L3", "A caller that knows the row of a hold can settle it.",
        "read_hold",
        "found is None or not hmac.compare_digest(found[0].encode(), hold_id.encode())",
        "found is None",
    ),
    Mutant(
        "ids-can-be-guessed", "L3", "An id has no random part.",
        "unique_part", "entropy(RANDOM_BYTES)", "bytes(RANDOM_BYTES)",
    ),
    Mutant(
        "earlier-ids-unknown", "L3", "After an upgrade, the holds of before cannot be settled.",
        "_earlier_row", "NO_ROW if found is None else int(found[0])", "NO_ROW",
    ),
    Mutant(
        "settle-after-release", "L3", "A Settle charges a hold that was released.",
        "Settlements.settle",
        "found.hold.state in (HoldState.OPEN, HoldState.EXPIRED)", "found.hold.state is not HoldState.SETTLED",
    ),
    Mutant(
        "release-after-settle", "L3", "A Release undoes the charge of a settled hold.",
        "Settlements.release",
        "found.hold.state in (HoldState.OPEN, HoldState.EXPIRED)", "found.hold.state is not HoldState.RELEASED",
    ),
    Mutant(
        "released-twice", "L3", "A second Release subtracts the amount of the hold again.",
        "Settlements.release",
        "return self._charge(found, amounts, at_us)",
        "if found.hold.state is HoldState.RELEASED:\n"
        "    self._sql.execute('UPDATE budgets SET held = held - 1 WHERE id IN (SELECT budget FROM hold_amounts WHERE hold = ?)', (found.row,))\n"
        "return self._charge(found, amounts, at_us)",
    ),
]  # fmt: skip

L4 = [
    Mutant(
        "answered-before-commit", "L4", "A decision is answered before it is on disk, so a crash loses it.",
        "GroupCommit._commit",
        "results = [request.run(self._refusals) for request in group]\n"
        "self._finish()",
        "results = [request.run(self._refusals) for request in group]\n"
        "self._finish()\n"
        "self._resolve(group, results)",
    ),
    Mutant(
        "answered-although-it-failed", "L4", "A decision is answered although its commit failed.",
        "GroupCommit._commit",
        "loop = asyncio.get_running_loop()\n"
        "await loop.run_in_executor(..., 'COMMIT')",
        "loop = asyncio.get_running_loop()\n"
        "try:\n"
        "    await loop.run_in_executor(..., 'COMMIT')\n"
        "except sqlite3.Error:\n"
        "    self._roll_back()",
    ),
    Mutant(
        "group-loses-one", "L4", "A request that does not fit into a full group is never executed.",
        "GroupCommit._drain", "self._queue[MAX_GROUP_REQUESTS:]", "self._queue[MAX_GROUP_REQUESTS + 1:]",
    ),
    Mutant(
        "group-fails-together", "L4", "An error of one request fails all requests of its group.",
        "GroupCommit._commit", "len(group) == 1 or isinstance(error, _FILE_ERRORS)", "group",
    ),
    TextMutant(
        "no-rollback", "L4", "What a failed request had written is committed with its group.",
        "GroupCommit._roll_back", "ROLLBACK", "COMMIT",
    ),
    Mutant(
        "rolled-back-ids-remembered", "L4", "A hold refers to a price whose row was rolled back.",
        "SqliteLedger._forget",
        "self._admission.forget()\n"
        "self._chain.forget()",
        "self._chain.forget()",
    ),
    Mutant(
        "rolled-back-link-remembered", "L4", "A decision is linked to one that was rolled back.",
        "SqliteLedger._forget",
        "self._admission.forget()\n"
        "self._chain.forget()",
        "self._admission.forget()",
    ),
    TextMutant(
        "commit-does-not-wait-for-the-disk", "L4", "A commit is not flushed to disk, so a power failure loses answered decisions.",
        "_set_durability", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
    ),
    Mutant(
        "decision-before-its-hold", "L4", "A decision is committed before its hold, so a crash leaves an Allow without a hold.",
        "Admission._record",
        "self._sql.execute(_INSERT_HOLD, (row, 'open', *hold, packed))",
        "self._sql.execute('COMMIT')\n"
        "self._sql.execute('BEGIN IMMEDIATE')\n"
        "self._sql.execute(_INSERT_HOLD, (row, 'open', *hold, packed))",
    ),
    Mutant(
        "uncommitted-is-shown", "L4", "Budgets include holds that are not committed yet.",
        "SqliteLedger.__init__",
        "writer = opened.enter_context(ledger_file.sole_writer(path))\n"
        "reader = ledger_file.open_reader(path)\n"
        "opened.callback(reader.close)",
        "writer = opened.enter_context(ledger_file.sole_writer(path))\n"
        "reader = writer",
    ),
    Mutant(
        "lost-file-answers", "L4", "Decisions are answered from a ledger that was moved away or deleted.",
        "FileWatch.problem", "_identity(file) != self._identities[what]", "False",
    ),
]  # fmt: skip
