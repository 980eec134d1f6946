"""Mutants of how calls are admitted, repeated and committed: L1, L3 and L4."""

from mutants.mutant import Mutant, TextMutant

L1 = [
    Mutant(
        "reserve-check-dropped", "L1", "Every call is admitted, whatever is spent.",
        "Balance.fits", "ceiling is None or self.spent + self.held + amount <= ceiling", "True",
    ),
    Mutant(
        "ceiling-never-reached", "L1", "The last unit of a budget cannot be used.",
        "Balance.fits",
        "self.spent + self.held + amount <= ceiling", "self.spent + self.held + amount < ceiling",
    ),
    Mutant(
        "holds-do-not-count", "L1", "Calls in flight take no room.",
        "Balance.fits", "self.spent + self.held", "self.spent",
    ),
    Mutant(
        "spend-does-not-count", "L1", "What is settled takes no room.",
        "Balance.fits", "self.spent + self.held", "self.held",
    ),
    Mutant(
        "own-hold-does-not-count", "L1", "A call is admitted while anything at all is left.",
        "Balance.fits",
        "self.spent + self.held + amount <= ceiling", "self.spent + self.held < ceiling",
    ),
    Mutant(
        "first-limit-alone", "L1", "Only the first limit is asked.",
        "check_reservation",
        "[(d, balance) for d, balance in checked if not balance.fits(d.amount)]",
        "[(d, balance) for d, balance in checked[:1] if not balance.fits(d.amount)]",
    ),
    Mutant(
        "refused-call-keeps-what-fitted", "L1", "A refusal leaves holds on the limits that fit.",
        "Admission._record",
        "if not decision.hold_id:\n"
        "    self._sql.execute(...)\n"
        "    return\n"
        "hold = self._hold_values(reservation, decision)\n"
        "amounts = sorted((self._balances.hold(balance, line.amount), line.amount, int(line.charge_on_expiry)) for line, balance in checked)",
        "if not decision.hold_id:\n"
        "    self._sql.execute(...)\n"
        "    for line, balance in checked:\n"
        "        if balance.fits(line.amount):\n"
        "            self._balances.hold(balance, line.amount)\n"
        "    return\n"
        "hold = self._hold_values(reservation, decision)\n"
        "amounts = sorted((self._balances.hold(balance, line.amount), line.amount, int(line.charge_on_expiry)) for line, balance in checked)",
    ),
    Mutant(
        "too-large-is-told-to-wait", "L1", "A call larger than a budget asks again for ever.",
        "_refusal",
        "if too_small:\n"
        "    ...",
        "if False:\n"
        "    ...",
    ),
    Mutant(
        "shadow-is-too-small", "L1", "A limit without effect says that no wait helps.",
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
        "as-large-as-the-budget", "L1", "What fits into an empty budget is told that no wait helps.",
        "Balance.never_fits",
        "amount + min(self.spent, 0) > ceiling", "amount + min(self.spent, 0) >= ceiling",
    ),
    Mutant(
        "grant-is-not-room", "L1", "A call that an adjustment has room for is told that no wait helps.",
        "Balance.never_fits", "amount + min(self.spent, 0)", "amount",
    ),
    Mutant(
        "larger-than-what-is-left", "L1", "A full budget is told from one that is too small by nobody.",
        "Balance.never_fits", "min(self.spent, 0)", "self.spent",
    ),
    Mutant(
        "preview-holds-what-is-due", "L5", "Whoever asks ahead is refused by a hold that has expired.",
        "SqliteLedger.__init__", "PreviewBalances", "Balances",
    ),
    TextMutant(
        "preview-frees-what-is-charged", "L5", "Whoever asks ahead is let through by what will be spent.",
        "_FREED_BY_EXPIRY", "AND (?8 OR NOT a.charge_on_expiry)", "AND (?8 OR 1)",
    ),
    Mutant(
        "looking-ahead-moves-time", "L9", "A question about tomorrow makes it tomorrow.",
        "SqliteLedger.preview", "self._time.peek", "self._time.advance",
    ),
    Mutant(
        "blind-to-its-group", "L1", "Calls of one group commit do not see each other.",
        "SqliteLedger.__init__",
        "calendar, time = Calendar(zone), LedgerTime(reader)\n"
        "self._time = time\n"
        "self._balances = balances = GroupBalances(writer, ...)",
        "calendar, time = Calendar(zone), LedgerTime(reader)\n"
        "self._time = time\n"
        "self._balances = balances = GroupBalances(reader, ...)",
    ),
    Mutant(
        "group-forgets-what-it-holds", "L1", "Calls of one group see what was there before it.",
        "GroupBalances.hold",
        "cached.held += amount\n"
        "cached.added += amount",
        "cached.added += amount",
    ),
    Mutant(
        "group-outlives-its-window", "L1", "A group that began before midnight counts in that day.",
        "_GroupBalance.counts",
        "span.start_us == self.start_us and (self.ends_us is None or at_us < self.ends_us)",
        "self.ends_us is None or at_us < self.ends_us",
    ),
    Mutant(
        "row-ends-after-its-group", "L1", "A minute ends for all of a group or for none.",
        "_GroupBalance.counts", "at_us < self.ends_us", "self.ends_us",
    ),
    Mutant(
        "group-writes-nothing", "L2", "What a group holds is never written.",
        "SqliteLedger.__init__", "GroupCommit(..., finish=balances.write)", "GroupCommit(...)",
    ),
    Mutant(
        "group-written-too-late", "L2", "An adjustment does not find what its group holds.",
        "SqliteLedger.run_after_decisions",
        "self._balances.write()\n"
        "return work()",
        "return work()",
    ),
    Mutant(
        "adjustment-not-seen", "L1", "An adjustment counts for no call of its own group.",
        "Adjustments.adjust",
        "self._balances.write()\n"
        "values = (at_us, row, amount, signed_by, reason)",
        "values = (at_us, row, amount, signed_by, reason)",
    ),
    Mutant(
        "due-before-its-group", "L2", "What expires for a call does not find what its group holds.",
        "Settlements.expire", "self._balances.write()", "pass",
    ),
    Mutant(
        "wait-for-what-is-written", "L1", "A refusal does not know of the holds of its group.",
        "GroupBalances.wait_us",
        "self.write()\n"
        "return super().wait_us(balance, amount)",
        "return super().wait_us(balance, amount)",
    ),
    Mutant(
        "rolled-back-holds-remembered", "L2", "What a failed group held is held by the next.",
        "SqliteLedger._forget",
        "self._balances.forget()\n"
        "self._admission.forget()",
        "self._admission.forget()",
    ),
    Mutant(
        "those-who-need-come-first", "L1", "A settlement frees nothing for the call before it.",
        "GroupCommit._drain", "sorted(group, key=lambda request: not request.frees)", "group",
    ),
    Mutant(
        "share-rounds-up", "L1", "Parts of a ceiling are together more than the whole.",
        "Share.of", "ceiling * self.part // self.parts", "-(-ceiling * self.part // self.parts)",
    ),
    Mutant(
        "minute-by-the-clock", "L1", "A minute begins anew at every full minute.",
        "Calendar.span",
        "Span(..., at_us - at_us % SECOND_US, at_us + MINUTE_US)",
        "Span(..., at_us - at_us % MINUTE_US, at_us - at_us % MINUTE_US + MINUTE_US)",
    ),
    Mutant(
        "minute-of-59-seconds", "L1", "A second's admissions are forgotten when its first is due.",
        "Calendar.span", "at_us + MINUTE_US", "at_us - at_us % SECOND_US + MINUTE_US",
    ),
    TextMutant(
        "second-not-prolonged", "L1", "A later admission of the same second ends with the first.",
        "_HOLD",
        "ceiling = ?, window_end_us = ? WHERE id = ?",
        "ceiling = ?, window_end_us = coalesce(window_end_us, ?) WHERE id = ?",
    ),
    Mutant(
        "lowered-ceiling-ignored", "L1", "The ceiling of a window's first call holds to its end.",
        "GroupBalances.of",
        "return Balance(limit, at_us, span, cached.row, cached.spent, cached.held)",
        "if cached.row is not None:\n"
        "    first = 'SELECT ceiling FROM budgets WHERE id = ?'\n"
        "    ceiling, = self._sql.execute(first, (cached.row,)).fetchone()\n"
        "    limit = limit._replace(ceiling=ceiling)\n"
        "return Balance(limit, at_us, span, cached.row, cached.spent, cached.held)",
    ),
    Mutant(
        "concurrent-spends", "L1", "A closed hold keeps its place among the open ones.",
        "Settlements._move",
        "0 if amount.limit.window is Window.CONCURRENT else charge(amount)", "charge(amount)",
    ),
    Mutant(
        "due-hold-keeps-its-place", "L1", "Who waited as long as was said is refused again.",
        "SqliteLedger._decide", "self._settlements.expire(reservation.at_us)", "pass",
    ),
    Mutant(
        "month-of-30-days", "L1", "On the 31st the first of the month is out of sight.",
        "HORIZON_US", "32", "30",
    ),
    TextMutant(
        "scopes-share", "L1", "All scopes of a limit draw on one budget.",
        "_STILL_OPEN", "AND scope = ?4", "AND ?4 <> ''",
    ),
    TextMutant(
        "row-of-the-old-zone-inserted-twice", "L8", "A month that the old zone has ended is lost.",
        "_STILL_OPEN", " OR window_start_us = ?7)", ")",
    ),
    TextMutant(
        "row-of-the-old-zone-forgotten", "L1", "Another zone gives each budget anew.",
        "_STILL_OPEN", "(window_end_us > ?6 OR window_start_us = ?7)", "window_start_us = ?7",
    ),
    TextMutant(
        "wait-until-the-old-zone-ended", "L1", "Told to ask again at once, and refused till then.",
        "_ENDS", "ELSE ?8 END, spent", "ELSE window_end_us END, spent",
    ),
    Mutant(
        "choices-not-held", "L1", "Four results to one call are held as one.",
        "worst_case", "output_tokens * choices", "output_tokens",
    ),
    Mutant(
        "four-bytes-a-token", "L1", "The bound on the input is a guess.",
        "_size", "estimate.input_bytes", "estimate.input_bytes // 4",
    ),
    Mutant(
        "no-price-is-free", "L1", "A unit without a price is held at nothing.",
        "Tariff.bound_nano_usd", "price is None", "False",
    ),
    Mutant(
        "two-writers", "L1", "Two sidecars on one file each believe that they know what is left.",
        "lock", "fcntl.LOCK_EX", "fcntl.LOCK_SH",
    ),
]  # fmt: skip

L3 = [
    Mutant(
        "replay-ignores-content", "L3", "An id that was used for another call gets its answer.",
        "Admission._earlier", "fingerprint != call.fingerprint", "not fingerprint",
    ),
    Mutant(
        "content-is-the-id", "L3", "The digest of a request leaves its content out.",
        "_fingerprint",
        "request.SerializeToString(deterministic=True)", "request.request_id.encode()",
    ),
    Mutant(
        "content-without-the-estimate", "L3", "A repeat may ask for more than the first.",
        "_fingerprint",
        "request.SerializeToString(deterministic=True)",
        "f'{request.principal}{request.model}{request.endpoint}'.encode()",
    ),
    Mutant(
        "replay-holds-again", "L3", "A repeat is a second call.",
        "Admission._decision_values", "call.request_id or None", "None",
    ),
    Mutant(
        "denials-not-kept", "L3", "A repeat of a denied call is decided anew.",
        "Admission._decision_values",
        "(decision.decision_id, call.request_id or None, ...)",
        "(decision.decision_id, call.request_id or None if decision.hold_id else None, ...)",
    ),
    Mutant(
        "replay-without-reasons", "L3", "A repeated denial does not say why.",
        "replayed_decision",
        "Decision(..., reasons=reasons_from_json(reasons))", "Decision(..., reasons=())",
    ),
    Mutant(
        "replay-with-todays-expiry", "L3", "A repeat says that its hold never ends.",
        "replayed_decision",
        "Decision(..., hold_expires_at_us=expires_at_us or 0)",
        "Decision(..., hold_expires_at_us=0)",
    ),
    Mutant(
        "replay-looks-new", "L3", "A repeat does not say that it is one.",
        "replayed_decision", "Decision(..., replayed=True)", "Decision(...)",
    ),
    Mutant(
        "replay-is-always-open", "L3", "A repeat of a settled call may be called again.",
        "replayed_decision",
        "Decision(..., hold_id=hold_id or '', hold_state=hold_state)",
        "Decision(..., hold_id=hold_id or '', hold_state=hold_id and HoldState.OPEN)",
    ),
    Mutant(
        "due-hold-is-open-to-a-replay", "L3", "A repeat is let out on a hold that is over.",
        "replayed_decision", "hold_state is HoldState.OPEN and expires_at_us <= at_us", "False",
    ),
    Mutant(
        "second-settle-counts", "L3", "A second Settle overwrites the first.",
        "Settlements.settle",
        "state in (HoldState.OPEN, HoldState.EXPIRED)", "state is not HoldState.RELEASED",
    ),
    Mutant(
        "settled-twice-charged-twice", "L3", "A second Settle is added to the first.",
        "Settlements.settle",
        "if state in (HoldState.OPEN, HoldState.EXPIRED):\n"
        "    self._move(row, state, charge)\n"
        "    if self._close(row, HoldState.SETTLED, settlement):\n"
        "        ...",
        "if state is not HoldState.RELEASED:\n"
        "    self._move(row, state, charge)\n"
        "    again = settlement.used.tokens * (state is HoldState.SETTLED)\n"
        "    self._sql.execute('UPDATE budgets SET spent = spent + ? WHERE id IN (SELECT budget FROM hold_amounts WHERE hold = ?)', (again, row))\n"
        "    if self._close(row, HoldState.SETTLED, settlement):\n"
        "        ...",
    ),
    Mutant(
        "settle-after-release", "L3", "A hold that was given back is charged.",
        "Settlements.settle",
        "state in (HoldState.OPEN, HoldState.EXPIRED)", "state is not HoldState.SETTLED",
    ),
    Mutant(
        "release-after-settle", "L3", "What was spent is given back.",
        "Settlements.release",
        "state in (HoldState.OPEN, HoldState.EXPIRED)", "state is not HoldState.RELEASED",
    ),
    Mutant(
        "release-gives-back-twice", "L3", "A second Release frees what others hold.",
        "Settlements.release",
        "if state in (HoldState.OPEN, HoldState.EXPIRED):\n"
        "    self._move(row, state, lambda _: 0)\n"
        "    ...",
        "if state is not HoldState.SETTLED:\n"
        "    again = state is HoldState.RELEASED\n"
        "    self._move(row, HoldState.OPEN if again else state, lambda _: 0)\n"
        "    ...",
    ),
]  # fmt: skip

L4 = [
    Mutant(
        "answered-before-commit", "L4", "A crash takes back what was answered.",
        "GroupCommit._commit",
        "results = [self._run(request.work) for request in group]\n"
        "self._finish()",
        "results = [self._run(request.work) for request in group]\n"
        "self._finish()\n"
        "_resolve(group, results)",
    ),
    Mutant(
        "answered-although-it-failed", "L4", "A full disk is not noticed.",
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
        "group-loses-one", "L4", "Of more than a group can hold, one is never done.",
        "GroupCommit._drain", "self._queue[MAX_GROUP_REQUESTS:]", "self._queue[MAX_GROUP_REQUESTS + 1:]",
    ),
    Mutant(
        "group-fails-together", "L4", "The fault of one call fails all of its group.",
        "GroupCommit._commit", "len(group) == 1 or isinstance(error, _FILE_ERRORS)", "group",
    ),
    TextMutant(
        "no-rollback", "L4", "What a failed call had written stays.",
        "GroupCommit._roll_back", "ROLLBACK", "COMMIT",
    ),
    Mutant(
        "rolled-back-ids-remembered", "L4", "A hold points to a price that was rolled back.",
        "Admission.forget",
        "self._row_ids.clear()\n"
        "self._chain.forget()",
        "self._chain.forget()",
    ),
    Mutant(
        "rolled-back-link-remembered", "L4", "A decision follows one that was rolled back.",
        "Admission.forget",
        "self._row_ids.clear()\n"
        "self._chain.forget()",
        "self._row_ids.clear()",
    ),
    TextMutant(
        "commit-does-not-wait-for-the-disk", "L4", "Power loss takes back what was answered.",
        "_set_durability", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
    ),
    Mutant(
        "decision-before-its-hold", "L4", "A crash leaves an Allow without a hold.",
        "Admission._record",
        "self._sql.execute(_INSERT_HOLD, (row, 'open', *hold))",
        "self._sql.execute('COMMIT')\n"
        "self._sql.execute('BEGIN IMMEDIATE')\n"
        "self._sql.execute(_INSERT_HOLD, (row, 'open', *hold))",
    ),
    Mutant(
        "uncommitted-is-shown", "L4", "Budgets show holds that may yet be rolled back.",
        "SqliteLedger.__init__",
        "self._key_usage = KeyUsage(writer)\n"
        "self._committed_balances = Balances(reader, ...)",
        "self._key_usage = KeyUsage(writer)\n"
        "self._committed_balances = Balances(writer, ...)",
    ),
    Mutant(
        "uncommitted-hold-is-shown", "L4", "A hold can be settled before it is on disk.",
        "SqliteLedger.__init__", "self._writer = writer", "self._writer = self._reader = writer",
    ),
]  # fmt: skip
