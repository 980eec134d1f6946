/** Asking the sidecar: once for each call, and until it answers or the deadline is there. */
import { randomUUID } from "node:crypto";
import { type Body, estimate } from "./bounds.js";
import { Call } from "./call.js";
import { Circuit } from "./circuit.js";
import { Connection, type Files } from "./connection.js";
import * as contract from "./contract.js";
import { Endings, RELEASE_UNKNOWN_MS } from "./endings.js";
import { BudgetError, CircuitOpen, Denied, NoAnswer, Replayed, Unavailable } from "./errors.js";
import { patiently } from "./patience.js";

export interface BudgetOptions extends Files {
  /**
   * Without an answer: "deny" throws Unavailable, "allow" lets the call out uncounted. After
   * three such calls the next do not wait: one a second still asks, the others get no answer at
   * once, until there is one.
   */
  readonly whenUnavailable: "deny" | "allow";
  /** How long to ask for one call; 5 seconds unless told. */
  readonly deadlineMs?: number;
  /** How long a hold stays open; as the sidecar has it unless told. */
  readonly holdTtlSeconds?: number;
}

/** A call that the app would like to make. All else that Mistral gets stands beside `model`. */
export interface Question {
  readonly principal: contract.Principal;
  readonly model: string;
  readonly maxTokens?: number | null | undefined;
  readonly endpoint?: contract.Endpoint;
  readonly estimate?: contract.Estimate;
  /** The most that one image, sound or document in the messages may take. */
  readonly tokensPerAttachment?: number | undefined;
  /** Ends the asking; what may be held by then is given back. */
  readonly signal?: AbortSignal;
  readonly [rest: string]: unknown;
}

/** A sidecar to ask. One is enough for an app. */
export class Budget {
  readonly #connection: Connection;
  readonly #endings: Endings;
  /** A ledger that takes no holds may still say what is left: that closes no circuit of calls. */
  readonly #circuits = { authorize: new Circuit(), getBudgets: new Circuit() };
  readonly #options: BudgetOptions;

  /** @param address `host:port`, or `unix:/path` */
  constructor(address: string, options: BudgetOptions) {
    if (!["deny", "allow"].includes(options?.whenUnavailable)) {
      throw new TypeError('whenUnavailable is "deny" or "allow"');
    }
    this.#options = options;
    this.#connection = new Connection(address, options);
    this.#endings = new Endings(this.#connection, this.#circuits.authorize);
  }

  /** Ask for one call. Whoever does has to end it. Throws BudgetError. */
  async authorize(question: Question): Promise<Call> {
    const { principal, endpoint = "CHAT", estimate: given, tokensPerAttachment, signal, ...body } = question;
    const ttl = this.#options.holdTtlSeconds;
    const request: contract.AuthorizeRequest = {
      // Never the app's own id: a repeat would get the first answer, and no hold of its own.
      requestId: randomUUID(),
      principal,
      model: question.model,
      endpoint: `ENDPOINT_${endpoint}`,
      estimate: estimate(endpoint, body as Body, given, tokensPerAttachment),
      ...(ttl ? { holdTtl: { seconds: ttl } } : {}),
    };
    try {
      const decided = contract.decision(await this.#ask("authorize", request, signal));
      if (!decided.allowed) throw new Denied(decided);
      return new Call(decided, request, this.#endings);
    } catch (error) {
      return this.#undecided(request, error);
    }
  }

  /** Ask, run the block with the call, and end it as the block ends. Throws BudgetError. */
  async guard<T>(question: Question, block: (call: Call) => Promise<T>): Promise<T> {
    const call = await this.authorize(question);
    try {
      const result = await block(call);
      call.end();
      return result;
    } catch (error) {
      call.end(error ?? new Error("no reason"));
      throw error;
    }
  }

  /** Return what is left, holding nothing. Throws Unavailable and Refused. */
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
    return this.#endings.close();
  }

  #ask(method: "authorize" | "getBudgets", request: object, signal?: AbortSignal): Promise<contract.Raw> {
    const once = (timeoutMs: number) => this.#connection.call(method, request, timeoutMs, signal);
    const how = { signal, circuit: this.#circuits[method], accept: own };
    return patiently(this.#options.deadlineMs ?? 5000, once, how);
  }

  #undecided(request: contract.AuthorizeRequest, error: unknown): Call {
    if (error instanceof BudgetError) throw error;
    if (error instanceof NoAnswer && this.#options.whenUnavailable === "allow") {
      const what = `call ${request.requestId} of ${request.model}`;
      console.warn(`the sidecar does not answer (${error.message}): ${what} goes out uncounted`);
      return new Call(undefined, request, this.#endings, !(error instanceof CircuitOpen));
    }
    if (error instanceof CircuitOpen) throw new Unavailable(error.message);
    // No answer, or the app does not want it any more: what may be held was never sent.
    const release = { reason: "not sent: no decision was seen" };
    const unsent = { request, holdId: "", release, withinMs: RELEASE_UNKNOWN_MS, isAsked: true };
    void this.#endings.add(unsent);
    throw error instanceof NoAnswer ? new Unavailable(error.message) : error;
  }
}

/** Return an answer that is to this question alone. Throws Replayed. */
function own(answer: contract.Raw, isRetry: boolean): contract.Raw {
  if (!answer.replayed) return answer;
  if (!isRetry) throw new Replayed(`${answer.requestId} was decided before this call asked`);
  if (answer.effect === "EFFECT_ALLOW" && answer.holdState !== "HOLD_STATE_OPEN") {
    throw new Replayed(`hold ${answer.holdId} is no longer open: ${answer.holdState}`);
  }
  return answer;
}
