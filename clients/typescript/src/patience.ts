/** Asking again, within one deadline. It is safe: a repeat of an id is never charged twice. */
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
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

/**
 * Ask until there is an answer. Rejects with Refused for an error that is one, with NoAnswer
 * when no time is left, and with the signal's reason. A process that has nothing else to do is
 * kept alive for `aliveMs`.
 */
export async function patiently<T>(
  deadlineMs: number,
  ask: (timeoutMs: number) => Promise<T>,
  signal?: AbortSignal,
  aliveMs = deadlineMs,
): Promise<T> {
  const until = Date.now() + deadlineMs;
  const aliveUntil = Date.now() + aliveMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    signal?.throwIfAborted();
    try {
      return await ask(Math.max(1, Math.min(ATTEMPT_MS, until - Date.now())));
    } catch (error) {
      signal?.throwIfAborted();
      const { code, details } = error as { code?: unknown; details?: string };
      if (typeof code !== "number") throw error;
      const name = status[code] ?? "UNKNOWN";
      if (FINAL.includes(code)) throw new Refused(name, details ?? "");
      // Not all clients of one sidecar that restarts shall come back at one moment.
      const wait = pause * (0.5 + Math.random() / 2);
      if (Date.now() + wait >= until) {
        // Too fast is a limit, and no outage.
        if (code === status.RESOURCE_EXHAUSTED) throw new Refused(name, details ?? "");
        throw new NoAnswer(`${name}: ${details}`);
      }
      await sleep(wait, undefined, { ref: Date.now() < aliveUntil });
    }
  }
}
