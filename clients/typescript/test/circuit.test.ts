import assert from "node:assert/strict";
import { type Mock, mock, test } from "node:test";
import { SidecarClient, type Call, Denied, Refused, Unavailable } from "../src/index.js";
import { AWAY_ADDRESS, kill, LATER_ADDRESS, MESSAGES, MODEL, ABSENT_ADDRESS, RESPONSE, startLate, who } from "./world.js";

const OPEN = "the circuit is open: 3 calls in a row had no answer";

const ask = (sidecar: SidecarClient, id = "circuit", maxTokens = 100): Promise<Call> =>
  sidecar.authorize({ principal: who(id), model: MODEL, messages: MESSAGES, maxTokens });

/** Return what the error says of a request without an answer, or "" if there is one. */
async function unanswered(pending: Promise<Call>): Promise<string> {
  try {
    await (await pending).release();
    return "";
  } catch (error) {
    assert.ok(error instanceof Unavailable && error.httpStatus === 503, String(error));
    return error.message;
  }
}

async function fail(sidecar: SidecarClient, calls = 3): Promise<void> {
  for (let call = 0; call < calls; call++) {
    assert.match(await unanswered(ask(sidecar)), /does not answer: (?!CIRCUIT_OPEN)/);
  }
}

/** Run it, and return the warnings it printed. */
async function warnings(work: () => Promise<unknown>): Promise<string[]> {
  const warn: Mock<typeof console.warn> = mock.method(console, "warn", () => undefined);
  try {
    await work();
  } finally {
    warn.mock.restore();
  }
  return warn.mock.calls.map((call) => String(call.arguments[0]));
}

test("an open circuit lets one call a second ask, once; an answer lets all ask", async () => {
  // The relay lets the fifth call through; tests/client/test_typescript.py counts those that came.
  const sidecar = new SidecarClient(AWAY_ADDRESS, { whenUnavailable: "deny", deadlineMs: 200 });
  await fail(sidecar);
  let refused = 0;
  let probes = 0;
  for (let answered = false; !answered; ) {
    const all = await Promise.all(Array.from({ length: 20 }, () => unanswered(ask(sidecar))));
    refused += all.filter((text) => text.includes(OPEN.slice(0, 19))).length;
    probes += all.filter((text) => text && !text.includes("CIRCUIT_OPEN")).length;
    answered = all.includes("");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.ok(refused >= 19);
  assert.equal(probes, 1);
  for (let call = 0; call < 5; call++) await (await ask(sidecar)).settle(RESPONSE);
  await sidecar.close();
});

test("fail open lets calls out at once, each logged, and settles what it can", async () => {
  const sidecar = new SidecarClient(ABSENT_ADDRESS, { whenUnavailable: "allow", deadlineMs: 100 });
  const calls: Call[] = [];
  const lines = await warnings(async () => {
    for (let call = 0; call < 20; call++) calls.push(await ask(sidecar));
  });
  assert.ok(calls.every((call) => !call.counted && call.maxTokens === 100));
  assert.equal(lines.filter((line) => line.includes("goes out uncounted")).length, 20);
  assert.ok(lines.some((line) => line.includes("CIRCUIT_OPEN")));
  for (const call of calls) void call.settle(RESPONSE);
  assert.deepEqual(await warnings(() => sidecar.close()), ["calls not settled: 20; their holds expire"]);
});

test("a call that was never sent is no call that was not settled", async () => {
  const sidecar = new SidecarClient(ABSENT_ADDRESS, { whenUnavailable: "deny", deadlineMs: 100 });
  const lines = await warnings(async () => {
    await fail(sidecar, 2);
    await sidecar.close();
  });
  assert.deepEqual(lines, []);
});

test("killed and started again: many uncounted calls are settled, each once", async () => {
  const open = new SidecarClient(LATER_ADDRESS, { whenUnavailable: "allow", deadlineMs: 100 });
  const closed = new SidecarClient(LATER_ADDRESS, { whenUnavailable: "deny", deadlineMs: 100 });
  let sidecar = await startLate("later");
  await (await ask(closed)).settle(RESPONSE);
  await kill(sidecar);
  await fail(closed);
  assert.match(await unanswered(ask(closed)), new RegExp(OPEN));
  await assert.rejects(closed.getBudgets(who("circuit")), /does not answer: (?!CIRCUIT_OPEN)/);
  const calls = await Promise.all(Array.from({ length: 50 }, () => ask(open)));
  const settlements = calls.map((call) => call.settle(RESPONSE));
  sidecar = await startLate("later");
  for (const settlement of await Promise.all(settlements)) assert.equal(settlement!.chargedTokens, 12n);
  while ((await unanswered(ask(closed))) !== "") await new Promise((resolve) => setTimeout(resolve, 100));
  const [limit] = await closed.getBudgets(who("circuit"));
  assert.deepEqual([limit!.spent, limit!.held], [51n * 12n, 0n]);
  for (let call = 0; call < 5; call++) {
    await assert.rejects(ask(closed, "circuit", 2_000_000), (error) => error instanceof Denied && !(error instanceof Unavailable));
    await assert.rejects(ask(closed, ""), Refused);
  }
  await Promise.all([open.close(), closed.close()]);
  await kill(sidecar);
});
