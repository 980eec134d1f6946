/**
 * A circuit breaker: while the sidecar does not answer, calls do not wait for it.
 *
 * After a few calls in a row without an answer it is open. Then one call a second probes: it
 * asks, once. All others get no answer at once. An answer, of any kind, closes it.
 */
import { CircuitOpen } from "./errors.js";

const FAILURES_TO_OPEN = 3;
const PROBE_MS = 1000;

/** Counts failures in a row. */
export class Circuit {
  #failures = 0;
  #last = "";
  #nextProbe = 0;

  /** Whether enough calls in a row had no response. */
  get isOpen(): boolean {
    return this.#failures >= FAILURES_TO_OPEN;
  }

  /** Whether a call that begins now is a probe. Throws CircuitOpen if it may not be sent. */
  admit(): boolean {
    if (!this.isOpen) return false;
    const now = performance.now();
    if (now < this.#nextProbe) throw new CircuitOpen(this.#failures, this.#last);
    // By time, not by the result of the last probe, which may have been aborted.
    this.#nextProbe = now + PROBE_MS;
    return true;
  }

  /** Count a call without a response. */
  fail(error: Error): void {
    this.#failures += 1;
    this.#last = error.message;
    if (this.#failures === FAILURES_TO_OPEN) this.#nextProbe = performance.now() + PROBE_MS;
  }

  /** Reset the count after a response. */
  close(): void {
    this.#failures = 0;
  }
}
