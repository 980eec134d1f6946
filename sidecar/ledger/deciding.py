"""Holding all of a call's demands, or none, and recording the decision."""

import sqlite3

from sidecar.domain.decisions import Decision, Proposal
from sidecar.domain.prices import Tariff
from sidecar.ledger import rows
from sidecar.ledger.alerting import Alerting
from sidecar.ledger.chain import AMOUNT_COLUMNS, DECISION_COLUMNS, HOLD_COLUMNS, Chain
from sidecar.ledger.group_standings import GroupStandings
from sidecar.ledger.protocol import RequestIdReusedError
from sidecar.ledger.weighing import Weighed, weigh

_INSERT_DECISION = rows.insert("decisions", *DECISION_COLUMNS, "chain")
_INSERT_HOLD = rows.insert("holds", "id", "state", *HOLD_COLUMNS)
_INSERT_AMOUNT = rows.insert("hold_amounts", "hold", *AMOUNT_COLUMNS)


class Deciding:
    """Decides on one connection.

    `decide` is called inside a transaction that somebody else begins and
    commits; it refuses, if at all, before its first write.
    """

    def __init__(
        self, connection: sqlite3.Connection, standings: GroupStandings, alerting: Alerting
    ) -> None:
        """Use the connection, and the standings and alerts that go through it."""
        self._sql = connection
        self._standings = standings
        self._alerting = alerting
        self._chain = Chain(connection, "decisions")
        self._row_ids: dict[str | Tariff, int] = {}

    def decide(self, proposal: Proposal) -> Decision:
        """Record the decision and its hold, or return the one already recorded."""
        at_us = self._standings.advance(proposal.at_us)
        earlier = self._earlier(proposal, at_us)
        if earlier is not None:
            return earlier
        decision, weighed = weigh(self._standings, proposal, at_us, hold=True)
        self._record(proposal, decision, weighed, at_us)
        self._alerting.thresholds(proposal, decision, weighed)
        return decision

    def forget(self) -> None:
        """Look everything up again: a transaction was rolled back, and its new rows with it."""
        self._row_ids.clear()
        self._chain.forget()

    def _earlier(self, proposal: Proposal, at_us: int) -> Decision | None:
        """L3: the same request gets the same answer, and how its hold stands by now."""
        call = proposal.call
        if not call.request_id:
            return None
        found = self._sql.execute(
            "SELECT id, fingerprint FROM decisions WHERE request_id = ?", (call.request_id,)
        ).fetchone()
        if found is None:
            return None
        row, fingerprint = found
        if fingerprint != call.fingerprint:
            raise RequestIdReusedError
        return rows.replayed_decision(self._sql.execute(rows.DECISION, (row,)).fetchone(), at_us)

    def _record(self, proposal: Proposal, decision: Decision, weighed: Weighed, at_us: int) -> None:
        """Write the decision and, if there is one, its hold; and link them to the chain."""
        values = self._decision_values(proposal, decision, at_us)
        if not decision.hold_id:
            self._sql.execute(_INSERT_DECISION, (*values, self._chain.link(values)))
            return
        hold = self._hold_values(proposal, decision)
        amounts = sorted(
            (
                self._standings.hold(standing, demand.amount),
                demand.amount,
                int(demand.charge_on_expiry),
            )
            for demand, standing in weighed
        )
        link = self._chain.link(values, hold, amounts)
        row = rows.row_id(self._sql.execute(_INSERT_DECISION, (*values, link)))
        self._sql.execute(_INSERT_HOLD, (row, "open", *hold))
        self._sql.executemany(_INSERT_AMOUNT, [(row, *amount) for amount in amounts])

    def _decision_values(
        self, proposal: Proposal, decision: Decision, at_us: int
    ) -> tuple[object, ...]:
        """Return what DECISION_COLUMNS get."""
        call = proposal.call
        return (
            decision.decision_id,
            call.request_id or None,
            call.fingerprint,
            at_us,
            decision.effect.value,
            call.principal_id,
            call.role,
            call.workspace,
            call.key_id,
            call.model_requested,
            call.model_id,
            call.endpoint.value,
            decision.max_output_tokens,
            rows.reasons_to_json(decision.reasons),
            rows.reasons_to_json(decision.shadow_reasons),
            rows.budgets_to_json(decision.budgets),
            decision.retry_after_us,
            self._policy_set(decision.policy_digest),
            decision.policy_generation,
        )

    def _hold_values(self, proposal: Proposal, decision: Decision) -> tuple[object, ...]:
        """Return what HOLD_COLUMNS get."""
        call = proposal.call
        return (
            decision.hold_id,
            decision.hold_expires_at_us,
            None if call.tariff is None else self._price(call.tariff),
            call.terms.service_tier,
            int(call.terms.batch),
            call.terms.region,
            call.most.input_tokens,
            call.most.output_tokens,
            call.most.pages,
            call.most.audio_seconds,
            call.cost_nano_usd,
            call.most.characters,
            call.most.annotated_pages,
            rows.tool_calls_to_json(call.most.tool_calls),
        )

    def _policy_set(self, digest: str) -> int:
        if digest not in self._row_ids:
            self._sql.execute("INSERT OR IGNORE INTO policy_sets (digest) VALUES (?)", (digest,))
            self._row_ids[digest] = self._id(
                "SELECT id FROM policy_sets WHERE digest = ?", (digest,)
            )
        return self._row_ids[digest]

    def _price(self, tariff: Tariff) -> int:
        if tariff not in self._row_ids:
            version = (tariff.price.price_id, rows.tariff_to_json(tariff))
            self._sql.execute(
                "INSERT OR IGNORE INTO prices (price_id, content) VALUES (?,?)", version
            )
            self._row_ids[tariff] = self._id(
                "SELECT id FROM prices WHERE price_id = ? AND content = ?", version
            )
        return self._row_ids[tariff]

    def _id(self, sql: str, parameters: tuple[str, ...]) -> int:
        (row,) = self._sql.execute(sql, parameters).fetchone()
        return int(row)
