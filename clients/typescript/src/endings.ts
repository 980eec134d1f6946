/**
 * Telling the sidecar how calls ended, in the background, until it knows or time is up.
 *
 * No answer of Mistral's waits for this. What is never told is no loss of safety: a hold that
 * nobody settles is charged at its worst case.
 */
import type { Circuit } from "./circuit.js";
import type { Connection } from "./connection.js";
import { type AuthorizeRequest, decision, type Raw, type SettleRequest } from "./contract.js";
import { Refused, Replayed } from "./errors.js";
import { patiently } from "./patience.js";

/** How long it is tried: as long as a hold lives by default. */
const SETTLE_MS = 600_000;
/** The same for a hold of which it is not known whether there is one. */
export const RELEASE_UNKNOWN_MS = 10_000;
const MOST_ENDINGS = 10_000;
/** How many are told at a time: thousands that wait for a sidecar would keep the app busy. */
const MOST_AT_A_TIME = 8;
/** How long an app that ends waits for what is still to be told. */
const GRACE_MS = 5000;
/** The same while the sidecar does not answer. */
const GRACE_OPEN_MS = 1000;

/**
 * How one call ended: a settlement if it was sent, else a release. Without a holdId, the
 * repeated request tells it.
 */
export interface Ending {
  readonly request: AuthorizeRequest;
  readonly holdId: string;
  readonly settle?: SettleRequest;
  readonly release?: { readonly reason: string };
  readonly withinMs?: number;
  /** Whether the request may have been decided before. */
  readonly isAsked: boolean;
}

export class Endings {
  readonly #open = new Map<Ending, Promise<Raw>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #closed = false;

  /** What is told does not wait for the circuit of calls to close. */
  constructor(
    private readonly connection: Connection,
    private readonly circuit: Circuit,
  ) {}

  /** Tell it soon. The promise is undefined when it cannot be told; it never rejects. */
  add(ending: Ending): Promise<Raw> {
    const told = (this.#open.size < MOST_ENDINGS ? this.#tell(ending) : Promise.reject("too many"))
      .catch((error: unknown) => this.#warn(ending, error))
      .finally(() => this.#open.delete(ending));
    this.#open.set(ending, told);
    return told;
  }

  /** Wait for what is still to be told, for a few seconds at most, then end. */
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

  /** What is to be told, but no release of an unknown hold while nobody can take it. */
  #worthWaiting(): Promise<Raw>[] {
    const isDown = this.connection.isDown();
    const waiting = [...this.#open].filter(([{ settle, holdId }]) => settle || holdId || !isDown);
    return waiting.map(([, told]) => told);
  }

  async #tell(ending: Ending): Promise<Raw> {
    const since = Date.now();
    if (this.#running >= MOST_AT_A_TIME) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await this.#tellNow(ending, since);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }

  #tellNow(ending: Ending, since: number): Promise<Raw> {
    const { holdId, settle, release, withinMs = SETTLE_MS } = ending;
    let { isAsked } = ending;
    const tell = async (timeoutMs: number): Promise<Raw> => {
      const isFirst = !isAsked;
      isAsked = true;
      const found = holdId || (await this.#lookUp(ending.request, timeoutMs, isFirst));
      return settle
        ? this.connection.call("settle", { ...settle, holdId: found }, timeoutMs)
        : this.connection.call("release", { ...release, holdId: found }, timeoutMs);
    };
    const waitedMs = Date.now() - since;
    return patiently(withinMs - waitedMs, tell, { aliveMs: GRACE_MS - waitedMs });
  }

  /** Return the hold of a request that got no answer: the repeat has the same one. */
  async #lookUp(request: AuthorizeRequest, timeoutMs: number, isFirst: boolean): Promise<string> {
    const raw = await this.connection.call("authorize", request, timeoutMs);
    if (isFirst && raw.replayed) {
      throw new Replayed(`${request.requestId} was decided before this call asked`);
    }
    const found = decision(raw).holdId;
    if (!found) throw new Refused("DENIED", "there is no hold for it");
    return found;
  }

  #warn({ request, holdId, settle }: Ending, error: unknown): undefined {
    if (this.#closed) return;
    const what = `${settle ? "settle" : "release"} of ${holdId || request.requestId}`;
    console.warn(`${what} failed (${error}); a hold that there is expires, at its worst case`);
  }
}
