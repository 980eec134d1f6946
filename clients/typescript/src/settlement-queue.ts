/**
 * The queue that reports to the sidecar how calls ended, in the background, with retries.
 *
 * Mistral's response does not wait for it. A lost report is safe: a hold that is not
 * settled is charged at its worst case.
 */
import type { Circuit } from "./circuit.js";
import type { Connection } from "./connection.js";
import { type AuthorizeRequest, decision, type Raw, type SettleRequest } from "./contract.js";
import { Refused, Replayed } from "./errors.js";
import { withRetries } from "./retry.js";

/** How long a report is retried: the lifetime of a hold by default. */
const SETTLE_MS = 600_000;
/** The same for a hold that may not exist. */
export const RELEASE_UNKNOWN_MS = 10_000;
const MAX_PENDING_REPORTS = 10_000;
/** The most reports that are sent at a time; more would keep the app busy. */
const MAX_CONCURRENT_REPORTS = 8;
/** How long an app that ends waits for reports. */
const GRACE_MS = 5000;
/** The same while the sidecar does not respond. */
const GRACE_OPEN_MS = 1000;

/**
 * How one call ended: a settlement if it was sent, else a release. Without a holdId, the
 * request is repeated to find it.
 */
export interface PendingReport {
  readonly request: AuthorizeRequest;
  readonly holdId: string;
  readonly settle?: SettleRequest;
  readonly release?: { readonly reason: string };
  readonly withinMs?: number;
  /** Whether the request was sent, and so may have been decided. */
  readonly isSent: boolean;
}

export class SettlementQueue {
  readonly #open = new Map<PendingReport, Promise<Raw>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #closed = false;

  /** Reports are sent while the circuit of calls is open, too. */
  constructor(
    private readonly connection: Connection,
    private readonly circuit: Circuit,
  ) {}

  /** Send a report soon. The promise is undefined if that fails; it never rejects. */
  add(ending: PendingReport): Promise<Raw> {
    const response = (this.#open.size < MAX_PENDING_REPORTS ? this.#send(ending) : Promise.reject("too many"))
      .catch((error: unknown) => this.#warn(ending, error))
      .finally(() => this.#open.delete(ending));
    this.#open.set(ending, response);
    return response;
  }

  /** Wait for the pending reports, a few seconds at most, then close the connection. */
  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const withinMs = this.circuit.isOpen ? GRACE_OPEN_MS : GRACE_MS;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, withinMs)));
    await Promise.race([Promise.all(this.#worthWaiting()), late]);
    clearTimeout(timer);
    this.#closed = true;
    this.connection.close();
    const untold = [...this.#open.keys()];
    const settlements = untold.filter((ending) => ending.settle).length;
    const held = untold.filter((ending) => !ending.settle && ending.holdId).length;
    if (settlements) console.warn(`calls not settled: ${settlements}; their holds expire`);
    if (held) console.warn(`calls not sent, whose holds are not released: ${held}; these expire`);
  }

  /** All pending reports, but no release of an unknown hold while the sidecar is down. */
  #worthWaiting(): Promise<Raw>[] {
    const isDown = this.connection.isDown();
    const waiting = [...this.#open].filter(([{ settle, holdId }]) => settle || holdId || !isDown);
    return waiting.map(([, response]) => response);
  }

  async #send(ending: PendingReport): Promise<Raw> {
    const since = Date.now();
    if (this.#running >= MAX_CONCURRENT_REPORTS) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await this.#sendNow(ending, since);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }

  #sendNow(ending: PendingReport, since: number): Promise<Raw> {
    const { holdId, settle, release, withinMs = SETTLE_MS } = ending;
    let { isSent } = ending;
    const attempt = async (timeoutMs: number): Promise<Raw> => {
      const isFirst = !isSent;
      isSent = true;
      const found = holdId || (await this.#lookUp(ending.request, timeoutMs, isFirst));
      return settle
        ? this.connection.call("settle", { ...settle, holdId: found }, timeoutMs)
        : this.connection.call("release", { ...release, holdId: found }, timeoutMs);
    };
    const waitedMs = Date.now() - since;
    return withRetries(withinMs - waitedMs, attempt, { aliveMs: GRACE_MS - waitedMs });
  }

  /** Return the hold of a request without a response: a repeat has the same one. */
  async #lookUp(request: AuthorizeRequest, timeoutMs: number, isFirst: boolean): Promise<string> {
    const raw = await this.connection.call("authorize", request, timeoutMs);
    if (isFirst && raw.replayed) {
      throw new Replayed(`${request.requestId} was decided before this call was sent`);
    }
    const found = decision(raw).holdId;
    if (!found) throw new Refused("DENIED", "there is no hold for it");
    return found;
  }

  #warn({ request, holdId, settle }: PendingReport, error: unknown): undefined {
    if (this.#closed) return;
    const what = `${settle ? "settle" : "release"} of ${holdId || request.requestId}`;
    console.warn(`${what} failed (${error}); a hold that there is expires, at its worst case`);
  }
}
