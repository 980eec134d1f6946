"""Mutants of how calls are admitted, repeated and committed: L1, L3 and L4."""

from mutants.mutant import Mutant

_SETTLES = """\
        row, state = self._state(hold_id)
        if state in (HoldState.OPEN, HoldState.EXPIRED):
            self._move(row, state, charge)"""
_RELEASES = """\
        if state in (HoldState.OPEN, HoldState.EXPIRED):
            self._move(row, state, lambda _: 0)"""

L1 = [
    Mutant(
        "reserve-check-dropped", "L1", "Every call is admitted, whatever is spent.",
        "ledger/balances.py",
        "return ceiling is None or self.spent + self.held + amount <= ceiling",
        "return True",
    ),
    Mutant(
        "ceiling-never-reached", "L1", "The last unit of a budget cannot be used.",
        "ledger/balances.py", "+ amount <= ceiling", "+ amount < ceiling",
    ),
    Mutant(
        "holds-do-not-count", "L1", "Calls in flight take no room.",
        "ledger/balances.py", "self.spent + self.held + amount <=", "self.spent + amount <=",
    ),
    Mutant(
        "spend-does-not-count", "L1", "What is settled takes no room.",
        "ledger/balances.py", "self.spent + self.held + amount <=", "self.held + amount <=",
    ),
    Mutant(
        "own-hold-does-not-count", "L1", "A call is admitted while anything at all is left.",
        "ledger/balances.py", "self.spent + self.held + amount <=", "self.spent + self.held <",
    ),
    Mutant(
        "first-limit-alone", "L1", "Only the first limit is asked.",
        "ledger/admission.py",
        "[(d, balance) for d, balance in checked if not",
        "[(d, balance) for d, balance in checked[:1] if not",
    ),
    Mutant(
        "refused-call-keeps-what-fitted", "L1", "A refusal leaves holds on the limits that fit.",
        "ledger/admission.py",
        "            self._sql.execute(_INSERT_DECISION, (*values, self._chain.link(values)))\n",
        "            self._sql.execute(_INSERT_DECISION, (*values, self._chain.link(values)))\n"
        "            for demand, standing in weighed:\n"
        "                if standing.fits(demand.amount):\n"
        "                    self._balances.hold(standing, demand.amount)\n",
    ),
    Mutant(
        "too-large-is-told-to-wait", "L1", "A call larger than a budget asks again for ever.",
        "ledger/admission.py", "    if too_small:\n", "    if False:\n",
    ),
    Mutant(
        "shadow-is-too-small", "L1", "A limit without effect says that no wait helps.",
        "ledger/admission.py",
        "for d, balance in enforced if balance.never_fits(d.amount)]",
        "for d, balance in refused if balance.never_fits(d.amount)]",
    ),
    Mutant(
        "as-large-as-the-budget", "L1", "What fits into an empty budget is told that no wait helps.",
        "ledger/balances.py", "amount + min(self.spent, 0) > ceiling", "amount + min(self.spent, 0) >= ceiling",
    ),
    Mutant(
        "grant-is-not-room", "L1", "A call that an adjustment has room for is told that no wait helps.",
        "ledger/balances.py", "amount + min(self.spent, 0) > ceiling", "amount > ceiling",
    ),
    Mutant(
        "larger-than-what-is-left", "L1", "A full budget is told from one that is too small by nobody.",
        "ledger/balances.py", "amount + min(self.spent, 0) > ceiling", "amount + self.spent > ceiling",
    ),
    Mutant(
        "preview-holds-what-is-due", "L5", "Whoever asks ahead is refused by a hold that has expired.",
        "ledger/sqlite.py",
        "self._foreseen_standings = ForeseenStandings(reader",
        "self._foreseen_standings = Balances(reader",
    ),
    Mutant(
        "preview-frees-what-is-charged", "L5", "Whoever asks ahead is let through by what will be spent.",
        "ledger/balances.py", "AND (?8 OR NOT a.charge_on_expiry)", "AND (?8 OR 1)",
    ),
    Mutant(
        "looking-ahead-moves-time", "L9", "A question about tomorrow makes it tomorrow.",
        "ledger/sqlite.py",
        "at_us = self._time.look(reservation.at_us)",
        "at_us = self._time.advance(reservation.at_us)",
    ),
    Mutant(
        "blind-to-its-group", "L1", "Calls of one group commit do not see each other.",
        "ledger/sqlite.py",
        "balances = GroupBalances(writer, calendar, time)",
        "balances = GroupBalances(reader, calendar, time)",
    ),
    Mutant(
        "group-forgets-what-it-holds", "L1", "Calls of one group see what was there before it.",
        "ledger/group_balances.py", "        kept.held += amount\n", "",
    ),
    Mutant(
        "group-outlives-its-window", "L1", "A group that began before midnight counts in that day.",
        "ledger/group_balances.py", "return span.start_us == self.start_us and", "return",
    ),
    Mutant(
        "row-ends-after-its-group", "L1", "A minute ends for all of a group or for none.",
        "ledger/group_balances.py", "or at_us < self.ends_us)", "or self.ends_us)",
    ),
    Mutant(
        "group-writes-nothing", "L2", "What a group holds is never written.",
        "ledger/sqlite.py", "            finish=balances.write,\n", "",
    ),
    Mutant(
        "group-written-too-late", "L2", "An adjustment does not find what its group holds.",
        "ledger/sqlite.py", "            self._balances.write()\n            return work()", "            return work()",
    ),
    Mutant(
        "adjustment-not-seen", "L1", "An adjustment counts for no call of its own group.",
        "ledger/adjustments.py", "        self._balances.write()  # what was read is old now\n", "",
    ),
    Mutant(
        "due-before-its-group", "L2", "What expires for a call does not find what its group holds.",
        "ledger/settlement.py", "            self._balances.write()  # it may be a call that asks for this\n",
        "            pass\n",
    ),
    Mutant(
        "wait-for-what-is-written", "L1", "A refusal does not know of the holds of its group.",
        "ledger/group_balances.py", "        self.write()  # it looks at the rows\n", "",
    ),
    Mutant(
        "rolled-back-holds-remembered", "L2", "What a failed group held is held by the next.",
        "ledger/sqlite.py", "        self._balances.forget()\n", "",
    ),
    Mutant(
        "those-who-need-come-first", "L1", "A settlement frees nothing for the call before it.",
        "ledger/group_commit.py", "sorted(group, key=lambda asked: not asked.frees)", "group",
    ),
    Mutant(
        "share-rounds-up", "L1", "Parts of a ceiling are together more than the whole.",
        "domain/share.py",
        "ceiling * self.part // self.parts", "-(-ceiling * self.part // self.parts)",
    ),
    Mutant(
        "minute-by-the-clock", "L1", "A minute begins anew at every full minute.",
        "domain/windows.py",
        "return Span(at_us - at_us % SECOND_US, at_us + MINUTE_US)",
        "return Span(at_us - at_us % MINUTE_US, at_us - at_us % MINUTE_US + MINUTE_US)",
    ),
    Mutant(
        "minute-of-59-seconds", "L1", "A second's admissions are forgotten when its first is due.",
        "domain/windows.py",
        "return Span(at_us - at_us % SECOND_US, at_us + MINUTE_US)",
        "return Span(at_us - at_us % SECOND_US, at_us - at_us % SECOND_US + MINUTE_US)",
    ),
    Mutant(
        "second-not-prolonged", "L1", "A later admission of the same second ends with the first.",
        "ledger/group_balances.py",
        "ceiling = ?, window_end_us = ? WHERE id = ?",
        "ceiling = ?, window_end_us = coalesce(window_end_us, ?) WHERE id = ?",
    ),
    Mutant(
        "lowered-ceiling-ignored", "L1", "The ceiling of a window's first call holds to its end.",
        "ledger/group_balances.py",
        "        return Balance(limit, at_us, span, kept.row, kept.spent, kept.held)",
        "        if kept.row is not None:\n"
        "            first = 'SELECT ceiling FROM budgets WHERE id = ?'\n"
        "            (ceiling,) = self._sql.execute(first, (kept.row,)).fetchone()\n"
        "            limit = limit._replace(ceiling=ceiling)\n"
        "        return Balance(limit, at_us, span, kept.row, kept.spent, kept.held)",
    ),
    Mutant(
        "concurrent-spends", "L1", "A closed hold keeps its place among the open ones.",
        "ledger/settlement.py",
        "charged = 0 if amount.limit.window is Window.CONCURRENT else charge(amount)",
        "charged = charge(amount)",
    ),
    Mutant(
        "due-hold-keeps-its-place", "L1", "Who waited as long as was said is refused again.",
        "ledger/sqlite.py", "            self._closing.expire(reservation.at_us)\n", "            pass\n",
    ),
    Mutant(
        "month-of-30-days", "L1", "On the 31st the first of the month is out of sight.",
        "domain/windows.py", "Window.MONTH: 32 * 86_400", "Window.MONTH: 30 * 86_400",
    ),
    Mutant(
        "scopes-share", "L1", "All scopes of a limit draw on one budget.",
        "ledger/balances.py", "AND scope = ?4", "AND ?4 <> ''",
    ),
    Mutant(
        "row-of-the-old-zone-inserted-twice", "L8", "A month that the old zone has ended is lost.",
        "ledger/balances.py", " OR window_start_us = ?7)", ")",
    ),
    Mutant(
        "row-of-the-old-zone-forgotten", "L1", "Another zone gives each budget anew.",
        "ledger/balances.py", "(window_end_us > ?6 OR window_start_us = ?7)", "window_start_us = ?7",
    ),
    Mutant(
        "wait-until-the-old-zone-ended", "L1", "Told to ask again at once, and refused till then.",
        "ledger/balances.py", "ELSE ?8 END, spent", "ELSE window_end_us END, spent",
    ),
    Mutant(
        "choices-not-held", "L1", "Four answers to one call are held as one.",
        "domain/worst_case.py", "output_tokens=output_tokens * choices,", "output_tokens=output_tokens,",
    ),
    Mutant(
        "four-bytes-a-token", "L1", "The bound on the input is a guess.",
        "authorization/request_evaluation.py",
        "estimate.input_tokens or estimate.input_bytes,",
        "estimate.input_tokens or estimate.input_bytes // 4,",
    ),
    Mutant(
        "no-price-is-free", "L1", "A unit without a price is held at nothing.",
        "domain/prices.py", "            if price is None:\n", "            if False:\n",
    ),
    Mutant(
        "two-writers", "L1", "Two sidecars on one file each believe that they know what is left.",
        "ledger/ledger_file.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB",
    ),
]  # fmt: skip

L3 = [
    Mutant(
        "replay-ignores-content", "L3", "An id that was used for another call gets its answer.",
        "ledger/admission.py", "if fingerprint != call.fingerprint:", "if not fingerprint:",
    ),
    Mutant(
        "content-is-the-id", "L3", "The digest of a request leaves its content out.",
        "authorization/authorizer.py",
        "request.SerializeToString(deterministic=True)",
        "request.request_id.encode()",
    ),
    Mutant(
        "content-without-the-estimate", "L3", "A repeat may ask for more than the first.",
        "authorization/authorizer.py",
        "hashlib.sha256(mark + request.SerializeToString(deterministic=True))",
        "hashlib.sha256(mark + f'{request.principal}{request.model}{request.endpoint}'.encode())",
    ),
    Mutant(
        "replay-holds-again", "L3", "A repeat is a second call.",
        "ledger/admission.py", "call.request_id or None,", "None,",
    ),
    Mutant(
        "denials-not-kept", "L3", "A repeat of a denied call is decided anew.",
        "ledger/admission.py",
        "call.request_id or None,",
        "(call.request_id or None) if decision.hold_id else None,",
    ),
    Mutant(
        "replay-without-reasons", "L3", "A repeated denial does not say why.",
        "ledger/rows.py", "reasons=reasons_from_json(reasons),", "reasons=(),",
    ),
    Mutant(
        "replay-with-todays-expiry", "L3", "A repeat says that its hold never ends.",
        "ledger/rows.py", "hold_expires_at_us=expires_at_us or 0,", "hold_expires_at_us=0,",
    ),
    Mutant(
        "replay-looks-new", "L3", "A repeat does not say that it is one.",
        "ledger/rows.py", "        replayed=True,\n", "",
    ),
    Mutant(
        "replay-is-always-open", "L3", "A repeat of a settled call may be called again.",
        "ledger/rows.py", "        hold_state=hold_state,\n", "        hold_state=hold_id and HoldState.OPEN,\n",
    ),
    Mutant(
        "due-hold-is-open-to-a-replay", "L3", "A repeat is let out on a hold that is over.",
        "ledger/rows.py", "if hold_state is HoldState.OPEN and expires_at_us <= at_us:", "if False:",
    ),
    Mutant(
        "second-settle-counts", "L3", "A second Settle overwrites the first.",
        "ledger/settlement.py", _SETTLES, _SETTLES.replace("in (HoldState.OPEN, HoldState.EXPIRED)", "is not HoldState.RELEASED"),
    ),
    Mutant(
        "settled-twice-charged-twice", "L3", "A second Settle is added to the first.",
        "ledger/settlement.py",
        _SETTLES,
        _SETTLES.replace("in (HoldState.OPEN, HoldState.EXPIRED)", "is not HoldState.RELEASED")
        + "\n            self._sql.execute('UPDATE budgets SET spent = spent + ? WHERE id IN (SELECT"
        " budget FROM hold_amounts WHERE hold = ?)', (used.tokens * (state == 'settled'), row))",
    ),
    Mutant(
        "settle-after-release", "L3", "A hold that was given back is charged.",
        "ledger/settlement.py", _SETTLES, _SETTLES.replace("in (HoldState.OPEN, HoldState.EXPIRED)", "is not HoldState.SETTLED"),
    ),
    Mutant(
        "release-after-settle", "L3", "What was spent is given back.",
        "ledger/settlement.py", _RELEASES, _RELEASES.replace("in (HoldState.OPEN, HoldState.EXPIRED)", "is not HoldState.RELEASED"),
    ),
    Mutant(
        "release-gives-back-twice", "L3", "A second Release frees what others hold.",
        "ledger/settlement.py",
        _RELEASES,
        "        if state is not HoldState.SETTLED:\n"
        "            again = state is HoldState.RELEASED\n"
        "            self._move(row, HoldState.OPEN if again else state, lambda _: 0)",
    ),
]  # fmt: skip

L4 = [
    Mutant(
        "answered-before-commit", "L4", "A crash takes back what was answered.",
        "ledger/group_commit.py",
        "            loop = asyncio.get_running_loop()\n            await",
        "            _tell(group, answers)\n            loop = asyncio.get_running_loop()\n            await",
    ),
    Mutant(
        "answered-although-it-failed", "L4", "A full disk is not noticed.",
        "ledger/group_commit.py",
        "_tell(group, [LedgerUnavailableError(_why(error))] * len(group))",
        "_tell(group, locals().get('answers') or [error] * len(group))",
    ),
    Mutant(
        "group-loses-one", "L4", "Of more than a group can hold, one is never done.",
        "ledger/group_commit.py", "self._queue[MAX_GROUP:]", "self._queue[MAX_GROUP + 1 :]",
    ),
    Mutant(
        "group-fails-together", "L4", "The fault of one call fails all of its group.",
        "ledger/group_commit.py",
        "if len(group) == 1 or isinstance(error, _FOR_ALL):",
        "if group:",
    ),
    Mutant(
        "no-rollback", "L4", "What a failed call had written stays.",
        "ledger/group_commit.py", 'execute("ROLLBACK")', 'execute("COMMIT")',
    ),
    Mutant(
        "rolled-back-ids-remembered", "L4", "A hold points to a price that was rolled back.",
        "ledger/admission.py", "        self._row_ids.clear()\n", "",
    ),
    Mutant(
        "rolled-back-link-remembered", "L4", "A decision follows one that was rolled back.",
        "ledger/admission.py", "        self._chain.forget()\n", "",
    ),
    Mutant(
        "commit-does-not-wait-for-the-disk", "L4", "Power loss takes back what was answered.",
        "ledger/ledger_file.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
    ),
    Mutant(
        "decision-before-its-hold", "L4", "A crash leaves an Allow without a hold.",
        "ledger/admission.py",
        '        self._sql.execute(_INSERT_HOLD, (row, "open", *hold))\n',
        "        self._sql.execute('COMMIT')\n"
        "        self._sql.execute('BEGIN IMMEDIATE')\n"
        '        self._sql.execute(_INSERT_HOLD, (row, "open", *hold))\n',
    ),
    Mutant(
        "uncommitted-is-shown", "L4", "Budgets show holds that may yet be rolled back.",
        "ledger/sqlite.py",
        "self._committed_standings = Balances(reader, calendar, time)",
        "self._committed_standings = Balances(writer, calendar, time)",
    ),
    Mutant(
        "uncommitted-hold-is-shown", "L4", "A hold can be settled before it is on disk.",
        "ledger/sqlite.py", "        self._reader = reader\n", "        self._reader = writer\n",
    ),
]  # fmt: skip
