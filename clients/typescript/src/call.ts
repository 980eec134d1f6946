/** A call that may go out, and how it ends. */
import { snakeCase } from "./bounds.js";
import {
  type AuthorizeRequest,
  type Decision,
  type SettleRequest,
  type Settlement,
  settlement,
  type Usage,
} from "./contract.js";
import type { PendingReport, SettlementQueue } from "./settlement-queue.js";

const MAX_USAGE_BYTES = 65_536;
/** Node's errors of a request that was not sent. */
const NEVER_SENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];
const ABORTED = ["AbortError", "RequestAbortedError"];
const FILLED_IN = ["promptTokens", "completionTokens"];
/** Fields that may contain a response: in the event of a stream, or a line of a batch's output. */
const AROUND = ["data", "response", "body"] as const;

/** The fields read from a response of the SDK, or from its JSON. */
interface Response {
  readonly data?: Response;
  readonly response?: Response;
  readonly body?: Response;
  readonly model?: unknown;
  readonly usage?: object;
  readonly usageInfo?: object;
  readonly usage_info?: object;
}

type Outcome = NonNullable<SettleRequest["outcome"]>;
type Reported = Promise<Settlement | undefined>;

/**
 * A call that may go out now, with this `maxTokens`.
 *
 * It ends once: settled, released or failed. Later reports change nothing.
 */
export class Call {
  #usageJson: string | undefined;
  #responseModel = "";
  #report: Reported | undefined;

  /**
   * @param decision the sidecar's whole response; undefined when the call goes out uncounted
   * @param isSent whether the sidecar got the request, and may then have a hold for it
   */
  constructor(
    readonly decision: Decision | undefined,
    private readonly request: AuthorizeRequest,
    private readonly settlements: SettlementQueue,
    private readonly isSent = true,
  ) {}

  /** False if the sidecar did not answer, and `whenUnavailable` is "allow". */
  get counted(): boolean {
    return this.decision !== undefined;
  }

  /** The model that the app has to name to Mistral. */
  get model(): string {
    return this.request.model;
  }

  /** The max_tokens that the app has to send, undefined if it need not send any. */
  get maxTokens(): number | undefined {
    const most = this.decision?.maxOutputTokens ?? this.request.estimate.maxOutputTokens;
    return most || undefined;
  }

  /** The balance of each limit that the call counts on, with its own hold. */
  get budgets(): Decision["budgets"] {
    return this.decision?.budgets ?? [];
  }

  /** Read usage and model from a response, or from a chunk of a stream if it has them. */
  observe(part: unknown): void {
    let whole = part as Response | undefined;
    for (const _ of AROUND) {
      if (!whole || whole.model || usageOf(whole)) break;
      const inside: Response = whole;
      whole = AROUND.map((name) => inside[name]).find((it) => it != null) ?? inside;
    }
    if (typeof whole?.model === "string") this.#responseModel = whole.model;
    const usage = usageOf(whole);
    if (!usage) return;
    // The SDK fills in 0 for a count that Mistral left out, and that is charged as held.
    const reported = Object.entries(usage).filter(([name, it]) => it !== 0 || !FILLED_IN.includes(name));
    const text = JSON.stringify(snakeCase(Object.fromEntries(reported)));
    if (Buffer.byteLength(text) <= MAX_USAGE_BYTES) this.#usageJson = text;
  }

  /** Settle with a response, and return that. */
  used<T>(response: T): T {
    this.settle(response);
    return response;
  }

  /**
   * Charge the usage of the response; without a usage, what is held. This is reported in the
   * background; the promise has the settlement, or undefined if it could not be reported.
   */
  settle(response?: unknown): Reported {
    if (response !== undefined) this.observe(response);
    return this.#end("OUTCOME_OK");
  }

  /** Release the hold: the call was not sent, and never will be. */
  release(reason = "not sent"): Reported {
    return (this.#report ??= this.#send({ release: { reason } }));
  }

  /**
   * End it by an error of sending it, and of nothing else. One that did not leave is released,
   * one that Mistral refused (4xx) costs nothing, and any other is charged as held.
   */
  failed(error: unknown): Reported {
    const code = codeOf(error);
    if (NEVER_SENT.includes(code)) return this.release(code);
    const status = statusOf(error);
    if (status >= 400 && status < 500 && this.#usageJson === undefined) {
      return this.#end("OUTCOME_FAILED", nothing(this.request));
    }
    return this.end(error);
  }

  /**
   * End it, if nothing has: with the usage if it is known, else as held. An error says
   * nothing of whether the call was sent, so it counts as spent.
   */
  end(error?: unknown): Reported {
    if (error === undefined || this.#usageJson !== undefined) return this.#end("OUTCOME_OK");
    const name = error instanceof Error ? error.name : "";
    return this.#end(ABORTED.includes(name) ? "OUTCOME_CANCELLED" : "OUTCOME_FAILED");
  }

  /** The app left the stream of its answer before the end. */
  leave(): Reported {
    return this.#end(this.#usageJson === undefined ? "OUTCOME_CANCELLED" : "OUTCOME_OK");
  }

  /** For `using`. */
  [Symbol.dispose](): void {
    this.end();
  }

  #end(outcome: Outcome, usage?: Usage): Reported {
    const json = this.#usageJson;
    const reported = json !== undefined ? { usageJson: json } : usage ? { usage } : {};
    const settle = { ...reported, responseModel: this.#responseModel, outcome };
    return (this.#report ??= this.#send({ settle }));
  }

  async #send(how: Pick<PendingReport, "settle" | "release">): Reported {
    const holdId = this.decision?.holdId ?? "";
    const response = await this.settlements.add({ request: this.request, holdId, isSent: this.isSent, ...how });
    return response && settlement(response);
  }
}

function usageOf(response: Response | undefined): object | undefined {
  return response?.usage ?? response?.usageInfo ?? response?.usage_info;
}

/** A usage with an explicit 0 for each unit, since an omitted one counts as held. */
function nothing(request: AuthorizeRequest): Usage {
  const tools = Object.keys(request.estimate.toolCalls ?? {});
  return {
    inputTokens: 0,
    outputTokens: 0,
    pages: 0,
    annotatedPages: 0,
    audioSeconds: 0,
    characters: 0,
    toolCalls: Object.fromEntries(tools.map((name) => [name, 0])),
  };
}

function codeOf(error: unknown): string {
  for (let it = error as { code?: unknown; cause?: unknown } | undefined; it; it = it.cause as never) {
    if (typeof it.code === "string") return it.code;
  }
  return "";
}

function statusOf(error: unknown): number {
  const it = error as { statusCode?: unknown; status?: unknown; response?: { status?: unknown } };
  return Number(it?.statusCode ?? it?.status ?? it?.response?.status ?? 0);
}
