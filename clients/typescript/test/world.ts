/** What the tests run against; tests/client/test_typescript.py starts it. */
import { spawn, type ChildProcess } from "node:child_process";
import { Mistral } from "@mistralai/mistralai";
import type { Principal } from "../src/index.js";

function env(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is missing: run these tests with pytest tests/client`);
  return value;
}

/** The sidecar, behind a relay that loses some of its answers. */
export const ADDRESS = env("SIDECAR_ADDRESS");
export const MISTRAL_URL = env("MISTRAL_URL");
/** No sidecar listens here until `startLate`. */
export const LATE_ADDRESS = env("LATE_ADDRESS");
export const LATER_ADDRESS = env("LATER_ADDRESS");
/** A sidecar behind a relay that lets nothing through before the fifth call asks. */
export const AWAY_ADDRESS = env("AWAY_ADDRESS");
/** The sidecar, behind a relay that repeats requests; see tests/client/test_typescript.py. */
export const REPEATING_ADDRESS = env("REPEATING_ADDRESS");
/** A sidecar that gives each principal a cent in total, of which dear-1 takes 10 USD a million. */
export const BUDGET_ADDRESS = env("BUDGET_ADDRESS");
export const ABSENT_ADDRESS = `${LATE_ADDRESS}.absent`;

export const MODEL = "small-1";
export const MESSAGES = [{ role: "user" as const, content: "Why is the sky blue?" }];
export const RESPONSE = { model: MODEL, usage: { promptTokens: 7, completionTokens: 5 } };

/** A principal of a test's own: budgets count per principal. */
export function who(id: string): Principal {
  return { id, role: "tester", workspace: "lab" };
}

export function mistralClient(): Mistral {
  return new Mistral({ apiKey: env("API_KEY"), serverURL: MISTRAL_URL });
}

/** The last request that the stand-in for Mistral received. */
export async function received(): Promise<Record<string, unknown>> {
  const { received } = (await (await fetch(`${MISTRAL_URL}/received`)).json()) as { received: never[] };
  return received.at(-1)!;
}

/** Start a sidecar at a late address, and wait until it serves. */
export async function startLate(which: "late" | "later" = "late"): Promise<ChildProcess> {
  const command = env(`${which.toUpperCase()}_COMMAND`);
  const [program, ...args] = JSON.parse(command) as [string, ...string[]];
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  await new Promise<void>((resolve, reject) => {
    child.stderr!.on("data", (line: Buffer) => line.includes("SERVING on") && resolve());
    child.on("exit", (code) => reject(new Error(`the sidecar ended: ${code}`)));
  });
  return child;
}

/** End it as a crash would. */
export async function kill(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}
