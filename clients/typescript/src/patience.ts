/** Asking again, within one deadline. It is safe: a repeat of an id is never charged twice. */
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { Circuit } from "./circuit.js";
import { NoAnswer, Refused } from "./errors.js";

/** How long one attempt may take, so that one that hangs leaves time for another. */
const ATTEMPT_MS = 2000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

/** What asking again does not mend. All else says nothing of what the sidecar has done. */
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

export interface PatienceOptions<T> {
  readonly signal?: AbortSignal | undefined;
  /** How long it keeps alive a process that has nothing else to do; as long as it asks. */
  readonly aliveMs?: number;
  /** Without one it is asked to the end, whatever others met. */
  readonly circuit?: Circuit;
  /** Looks at the answer, and may throw; `isRetry` if an attempt before had none. */
  readonly accept?: (answer: T, isRetry: boolean) => T;
}

/**
 * Ask until there is an answer. Rejects with Refused for an error that is one, with NoAnswer
 * when no time is left, with CircuitOpen when it may not ask, and with the signal's reason.
 */
export async function patiently<T>(
  deadlineMs: number,
  ask: (timeoutMs: number) => Promise<T>,
  { signal, aliveMs = deadlineMs, circuit = new Circuit(), accept = (it) => it }: PatienceOptions<T> = {},
): Promise<T> {
  const probes = circuit.admit();
  const until = Date.now() + deadlineMs;
  const aliveUntil = Date.now() + aliveMs;
  let isRetry = false;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
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
      // Too fast is a limit, and no outage.
      const isAnswer = FINAL.includes(code) || code === status.RESOURCE_EXHAUSTED;
      if (isAnswer) circuit.close();
      // Not all clients of one sidecar that restarts shall come back at one moment.
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
