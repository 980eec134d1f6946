/** Errors of a call that must not go out. */
import type { BudgetState, Decision, Reason } from "./contract.js";

/** The base of all errors by which a call is not sent. Retrying at once does not help. */
export class BudgetError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** The parts of a decision that say why a call is denied, and what would be allowed. */
type Denial = Pick<
  Decision,
  "decisionId" | "reasons" | "budgets" | "retryAfterSeconds" | "fittingMaxOutputTokens" | "fittingModels"
>;

/** The sidecar denies the call, for all of `reasons`. */
export class Denied extends BudgetError {
  readonly decisionId: string;
  readonly reasons: readonly Reason[];
  readonly budgets: readonly BudgetState[];
  /** The status that a gateway should return, by the first reason. */
  readonly httpStatus: number;
  /** When a new call may be allowed; undefined where waiting does not help. */
  readonly retryAfterSeconds: number | undefined;
  /** The most output tokens with which the call would be allowed now; 0 if none are known. */
  readonly fittingMaxOutputTokens: number;
  /** Other models with which it would be allowed now, by id, the lowest cost first. */
  readonly fittingModels: readonly string[];

  constructor(decision: Denial) {
    super(decision.reasons.map((reason) => `${reason.code}: ${reason.message}`).join("; "));
    this.decisionId = decision.decisionId;
    this.reasons = decision.reasons;
    this.budgets = decision.budgets;
    this.httpStatus = decision.reasons[0]?.httpStatus ?? 403;
    this.retryAfterSeconds = decision.retryAfterSeconds;
    this.fittingMaxOutputTokens = decision.fittingMaxOutputTokens;
    this.fittingModels = decision.fittingModels;
  }
}

/**
 * The sidecar gave no response in time, and `whenUnavailable` is "deny". With CIRCUIT_OPEN in the
 * message, the call was not sent to it, since earlier calls had no response.
 */
export class Unavailable extends Denied {
  constructor(problem: string) {
    const message = `the sidecar does not answer: ${problem}`;
    const reason = { code: "SIDECAR_UNAVAILABLE", message, rule: "", httpStatus: 503 };
    const unknown = { retryAfterSeconds: undefined, fittingMaxOutputTokens: 0, fittingModels: [] };
    super({ decisionId: "", reasons: [reason], budgets: [], ...unknown });
  }
}

/**
 * The request is invalid for the sidecar: the app or its configuration has to be fixed.
 * It is thrown with either value of `whenUnavailable`.
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
 * The response is a replay of another call's decision, or its hold has ended. Another call uses
 * the same requestId, or a proxy repeats requests.
 */
export class Replayed extends Refused {
  constructor(details: string) {
    super("REPLAYED", details);
  }
}

/** The request does not bound the size of the call. */
export class Unbounded extends BudgetError {}

/** The cost of this part of the SDK is unknown, so a guarded client does not have it. */
export class Unguarded extends BudgetError {}

/** There was no response within the deadline. Internal: apps get Unavailable. */
export class NoAnswer extends Error {}

/** The call was not sent, since earlier calls had no response. */
export class CircuitOpen extends NoAnswer {
  constructor(failures: number, last: string) {
    const why = `${failures} calls in a row had no answer; the last: ${last}`;
    super(`CIRCUIT_OPEN: the circuit is open: ${why}`);
  }
}
