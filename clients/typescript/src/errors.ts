/** Why a call does not go out. */
import type { BudgetState, Decision, Reason } from "./contract.js";

/** The call must not go out, and did not. Asking again at once does not help. */
export class BudgetError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** The sidecar said no, for all of `reasons`. */
export class Denied extends BudgetError {
  readonly decisionId: string;
  readonly reasons: readonly Reason[];
  readonly budgets: readonly BudgetState[];
  /** What a gateway would answer, by the first reason. */
  readonly httpStatus: number;
  /** When a new call may be allowed; undefined where waiting does not help. */
  readonly retryAfterSeconds: number | undefined;

  constructor(decision: Pick<Decision, "decisionId" | "reasons" | "budgets" | "retryAfterSeconds">) {
    super(decision.reasons.map((reason) => `${reason.code}: ${reason.message}`).join("; "));
    this.decisionId = decision.decisionId;
    this.reasons = decision.reasons;
    this.budgets = decision.budgets;
    this.httpStatus = decision.reasons[0]?.httpStatus ?? 403;
    this.retryAfterSeconds = decision.retryAfterSeconds;
  }
}

/**
 * The sidecar gave no answer in time, and `whenUnavailable` is "deny". Or it was not asked,
 * because it gave none to the calls before: the message then says CIRCUIT_OPEN.
 */
export class Unavailable extends Denied {
  constructor(problem: string) {
    const message = `the sidecar does not answer: ${problem}`;
    const reason = { code: "SIDECAR_UNAVAILABLE", message, rule: "", httpStatus: 503 };
    super({ decisionId: "", reasons: [reason], budgets: [], retryAfterSeconds: undefined });
  }
}

/**
 * The sidecar cannot take such a request: the app, or its configuration, has to be mended.
 * It is thrown whatever `whenUnavailable` says.
 */
export class Refused extends BudgetError {
  constructor(
    readonly code: string,
    details: string,
  ) {
    super(`${code}: ${details}`);
  }
}

/**
 * The sidecar repeats a decision that was another call's, or whose hold has ended. Either its id
 * is not this call's alone, or something on the way repeats requests.
 */
export class Replayed extends Refused {
  constructor(details: string) {
    super("REPLAYED", details);
  }
}

/** Nothing says how large the call may become: its bytes do not. */
export class Unbounded extends BudgetError {}

/** A guarded client cannot say what this part of the SDK would spend. */
export class Unguarded extends BudgetError {}

/** There was no answer within the deadline. Never leaves this package. */
export class NoAnswer extends Error {}

/** The sidecar was not asked, since it gave no answer to the calls before. */
export class CircuitOpen extends NoAnswer {
  constructor(failures: number, last: string) {
    const why = `${failures} calls in a row had no answer; the last: ${last}`;
    super(`CIRCUIT_OPEN: the circuit is open: ${why}`);
  }
}
