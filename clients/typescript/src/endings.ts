/**
 * Telling the sidecar how calls ended, in the background, until it knows or time is up.
 *
 * No answer of Mistral's waits for this. What is never told is no loss of safety: a hold that
 * nobody settles is charged at its worst case.
 */
import type { Connection } from "./connection.js";
import { type AuthorizeRequest, decision, type Raw, type SettleRequest } from "./contract.js";
import { Refused } from "./errors.js";
import { patiently } from "./patience.js";

/** How long it is tried: as long as a hold lives by default. */
const SETTLE_MS = 600_000;
/** The same for a hold of which it is not known whether there is one. */
export const RELEASE_UNKNOWN_MS = 10_000;
const MOST_ENDINGS = 10_000;
/** How long an app that ends waits for what is still to be told. */
const GRACE_MS = 5000;

/** How one call ended. Without a holdId, the repeated request tells it. */
export interface Ending {
  readonly request: AuthorizeRequest;
  readonly holdId: string;
  readonly settle?: SettleRequest;
  readonly release?: { readonly reason: string };
  readonly withinMs?: number;
}

export class Endings {
  readonly #open = new Set<Promise<Raw>>();
  #closed = false;

  constructor(private readonly connection: Connection) {}

  /** Tell it soon. The promise is undefined when it cannot be told; it never rejects. */
  add(ending: Ending): Promise<Raw> {
    const told = (this.#open.size < MOST_ENDINGS ? this.#tell(ending) : Promise.reject("too many"))
      .catch((error: unknown) => this.#warn(ending, error))
      .finally(() => this.#open.delete(told));
    this.#open.add(told);
    return told;
  }

  /** Wait so long at most for all that is still to be told, then end. */
  async close(withinMs = GRACE_MS): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, withinMs)));
    await Promise.race([Promise.all(this.#open), late]);
    clearTimeout(timer);
    this.#closed = true;
    this.connection.close();
    if (this.#open.size) {
      console.warn(`${this.#open.size} calls were not settled; their holds expire`);
    }
  }

  #tell({ request, holdId, settle, release, withinMs = SETTLE_MS }: Ending): Promise<Raw> {
    const tell = async (timeoutMs: number): Promise<Raw> => {
      const found = holdId || (await this.#lookUp(request, timeoutMs));
      return settle
        ? this.connection.call("settle", { ...settle, holdId: found }, timeoutMs)
        : this.connection.call("release", { ...release, holdId: found }, timeoutMs);
    };
    return patiently(withinMs, tell, undefined, GRACE_MS);
  }

  /** Return the hold of a request that got no answer: the repeat has the same one. */
  async #lookUp(request: AuthorizeRequest, timeoutMs: number): Promise<string> {
    const found = decision(await this.connection.call("authorize", request, timeoutMs)).holdId;
    if (!found) throw new Refused("DENIED", "there is no hold for it");
    return found;
  }

  #warn({ request, holdId, settle }: Ending, error: unknown): undefined {
    if (this.#closed) return;
    const what = `${settle ? "settle" : "release"} of ${holdId || request.requestId}`;
    console.warn(`${what} failed (${error}); a hold that there is expires, at its worst case`);
  }
}
