/** The client of the sidecar: authorizes calls, reads budgets, and retries within a deadline. */
import { randomUUID } from "node:crypto";
import { type Body, estimate } from "./bounds.js";
import { Call } from "./call.js";
import { Circuit } from "./circuit.js";
import { Connection, type Files } from "./connection.js";
import * as contract from "./contract.js";
import { SettlementQueue, RELEASE_UNKNOWN_MS } from "./settlement-queue.js";
import { BudgetError, CircuitOpen, Denied, NoAnswer, Replayed, Unavailable } from "./errors.js";
import { withRetries } from "./retry.js";

export interface SidecarClientOptions extends Files {
  /**
   * When the sidecar does not respond: "deny" throws Unavailable, "allow" lets the call go out
   * uncounted. After three such calls the circuit is open: one call a second still asks, and the
   * others do not wait, until there is a response.
   */
  readonly whenUnavailable: "deny" | "allow";
  /** The deadline for one call, all attempts together; 5 seconds by default. */
  readonly deadlineMs?: number;
  /** How long a hold stays open; by default as the sidecar sets it. */
  readonly holdTtlSeconds?: number;
}

/** A call that the app wants to make. Everything else that Mistral gets is given beside `model`. */
export interface CallRequest {
  readonly principal: contract.Principal;
  readonly model: string;
  readonly maxTokens?: number | null | undefined;
  readonly endpoint?: contract.Endpoint;
  readonly estimate?: contract.Estimate;
  /** The most tokens that one image, sound or document in the messages may take. */
  readonly tokensPerAttachment?: number | undefined;
  /** Cancels the request; a hold that was made is released. */
  readonly signal?: AbortSignal;
  readonly [rest: string]: unknown;
}

/** The connection to one sidecar, with its settlement queue. An app needs one. */
export class SidecarClient {
  readonly #connection: Connection;
  readonly #settlements: SettlementQueue;
  /** Separate: a ledger that takes no holds can still be read, which says nothing about calls. */
  readonly #circuits = { authorize: new Circuit(), getBudgets: new Circuit() };
  readonly #options: SidecarClientOptions;

  /** @param address `host:port`, or `unix:/path` */
  constructor(address: string, options: SidecarClientOptions) {
    if (!["deny", "allow"].includes(options?.whenUnavailable)) {
      throw new TypeError('whenUnavailable is "deny" or "allow"');
    }
    this.#options = options;
    this.#connection = new Connection(address, options);
    this.#settlements = new SettlementQueue(this.#connection, this.#circuits.authorize);
  }

  /** Authorize one call. The caller has to end it. Throws BudgetError. */
  async authorize(wanted: CallRequest): Promise<Call> {
    const { principal, endpoint = "CHAT", estimate: given, tokensPerAttachment, signal, ...body } = wanted;
    const ttl = this.#options.holdTtlSeconds;
    const request: contract.AuthorizeRequest = {
      // Never the app's own id: a repeat would get the first answer, and no hold of its own.
      requestId: randomUUID(),
      principal,
      model: wanted.model,
      endpoint: `ENDPOINT_${endpoint}`,
      estimate: estimate(endpoint, body as Body, given, tokensPerAttachment),
      ...(ttl ? { holdTtl: { seconds: ttl } } : {}),
    };
    try {
      const decided = contract.decision(await this.#ask("authorize", request, signal));
      if (!decided.allowed) throw new Denied(decided);
      return new Call(decided, request, this.#settlements);
    } catch (error) {
      return this.#undecided(request, error);
    }
  }

  /** Authorize a call, run the block with it, and end it with the block. Throws BudgetError. */
  async guard<T>(request: CallRequest, block: (call: Call) => Promise<T>): Promise<T> {
    const call = await this.authorize(request);
    try {
      const result = await block(call);
      call.end();
      return result;
    } catch (error) {
      call.end(error ?? new Error("no reason"));
      throw error;
    }
  }

  /** Return what is left, and hold nothing. Throws Unavailable and Refused. */
  async getBudgets(principal: contract.Principal, model = ""): Promise<contract.BudgetState[]> {
    try {
      const answer = await this.#ask("getBudgets", { principal, model });
      return answer.budgets.map(contract.budgetState);
    } catch (error) {
      throw error instanceof NoAnswer ? new Unavailable(error.message) : error;
    }
  }

  /** Wait for the last settlements, for a few seconds at most, and end. */
  close(): Promise<void> {
    return this.#settlements.close();
  }

  #ask(method: "authorize" | "getBudgets", request: object, signal?: AbortSignal): Promise<contract.Raw> {
    const once = (timeoutMs: number) => this.#connection.call(method, request, timeoutMs, signal);
    const how = { signal, circuit: this.#circuits[method], accept: own };
    return withRetries(this.#options.deadlineMs ?? 5000, once, how);
  }

  #undecided(request: contract.AuthorizeRequest, error: unknown): Call {
    if (error instanceof BudgetError) throw error;
    if (error instanceof NoAnswer && this.#options.whenUnavailable === "allow") {
      const what = `call ${request.requestId} of ${request.model}`;
      console.warn(`the sidecar does not answer (${error.message}): ${what} goes out uncounted`);
      return new Call(undefined, request, this.#settlements, !(error instanceof CircuitOpen));
    }
    if (error instanceof CircuitOpen) throw new Unavailable(error.message);
    // No response, or the app cancelled: release the hold that may exist.
    const release = { reason: "not sent: no decision was seen" };
    const unsent = { request, holdId: "", release, withinMs: RELEASE_UNKNOWN_MS, isSent: true };
    void this.#settlements.add(unsent);
    throw error instanceof NoAnswer ? new Unavailable(error.message) : error;
  }
}

/** Return the response if it was made for this call. Throws Replayed. */
function own(answer: contract.Raw, isRetry: boolean): contract.Raw {
  if (!answer.replayed) return answer;
  if (!isRetry) throw new Replayed(`${answer.requestId} was decided before this call was sent`);
  if (answer.effect === "EFFECT_ALLOW" && answer.holdState !== "HOLD_STATE_OPEN") {
    throw new Replayed(`hold ${answer.holdId} is no longer open: ${answer.holdState}`);
  }
  return answer;
}
