/** Retries within one deadline. They are safe: a repeat of an id is never charged twice. */
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { Circuit } from "./circuit.js";
import { NoAnswer, Refused } from "./errors.js";

/** The timeout of one attempt, so that one that hangs leaves time for another. */
const ATTEMPT_MS = 2000;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1000;

/** Errors that a retry does not help. Any other leaves open what the sidecar has done. */
const FINAL: readonly number[] = [
  status.ALREADY_EXISTS,
  status.FAILED_PRECONDITION,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.OUT_OF_RANGE,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.UNIMPLEMENTED,
];

export interface RetryOptions<T> {
  readonly signal?: AbortSignal | undefined;
  /** How long it keeps an idle process alive; by default until the deadline. */
  readonly aliveMs?: number;
  /** Without one it retries until the deadline, regardless of other calls. */
  readonly circuit?: Circuit;
  /** Checks the response, and may throw; `isRetry` if an earlier attempt had none. */
  readonly accept?: (answer: T, isRetry: boolean) => T;
}

/**
 * Retry until there is a response. Rejects with Refused for an error that is a response, with
 * NoAnswer at the deadline, with CircuitOpen, and with the signal's reason.
 */
export async function withRetries<T>(
  deadlineMs: number,
  ask: (timeoutMs: number) => Promise<T>,
  { signal, aliveMs = deadlineMs, circuit = new Circuit(), accept = (it) => it }: RetryOptions<T> = {},
): Promise<T> {
  const probes = circuit.admit();
  const until = Date.now() + deadlineMs;
  const aliveUntil = Date.now() + aliveMs;
  let isRetry = false;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
    signal?.throwIfAborted();
    try {
      const answer = await ask(Math.max(1, Math.min(ATTEMPT_MS, until - Date.now())));
      circuit.close();
      return accept(answer, isRetry);
    } catch (error) {
      signal?.throwIfAborted();
      const { code, details } = error as { code?: unknown; details?: string };
      if (typeof code !== "number") throw error;
      isRetry = true;
      const name = status[code] ?? "UNKNOWN";
      // A rate limit is not an outage.
      const isAnswer = FINAL.includes(code) || code === status.RESOURCE_EXHAUSTED;
      if (isAnswer) circuit.close();
      // With jitter, so that clients of a restarting sidecar do not all retry at the same moment.
      const wait = pause * (0.5 + Math.random() / 2);
      const isOver = Date.now() + wait >= until;
      if (FINAL.includes(code) || (isAnswer && isOver)) throw new Refused(name, details ?? "");
      if (!isAnswer && (isOver || probes || circuit.isOpen)) {
        const noAnswer = new NoAnswer(`${name}: ${details}`);
        circuit.fail(noAnswer);
        throw noAnswer;
      }
      await sleep(wait, undefined, { ref: Date.now() < aliveUntil });
    }
  }
}
