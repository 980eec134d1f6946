import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SidecarClient, type Call, Denied, Refused, Unavailable, Unbounded } from "../src/index.js";
import { ADDRESS, kill, LATE_ADDRESS, MESSAGES, MODEL, RESPONSE, startLate, who } from "./world.js";

let sidecar: SidecarClient;
/** A settlement keeps a process alive for five seconds; a busy machine may take longer. */
let alive: NodeJS.Timeout;
before(() => {
  sidecar = new SidecarClient(ADDRESS, { whenUnavailable: "deny", deadlineMs: 20_000 });
  alive = setInterval(() => undefined, 1000);
});
after(() => {
  clearInterval(alive);
  return sidecar.close();
});

const request = (id: string, rest: object = {}) => ({
  principal: who(id), model: MODEL, messages: MESSAGES, maxTokens: 100, ...rest,
});

/** Return what one principal has spent and held. */
async function state(id: string, of: SidecarClient = sidecar): Promise<[number, number]> {
  const [limit] = await of.getBudgets(who(id));
  return [Number(limit!.spent), Number(limit!.held)];
}

const HELD = 100 + 106;

class Refusal extends Error {
  statusCode = 429;
}

const refused = new Error("fetch failed", { cause: { code: "ECONNREFUSED" } });
const aborted = Object.assign(new Error(), { name: "AbortError" });
const WAYS: [string, (call: Call) => unknown, number][] = [
  ["settles", (call) => call.settle(RESPONSE), 12],
  ["observes a chunk", (call) => call.observe({ data: RESPONSE }), 12],
  ["gives a usage of the wire", (call) => call.settle({ usage: { prompt_tokens: 3, completion_tokens: 1 } }), 4],
  ["settles a conversation, without a model", (call) => call.settle({ conversationId: "c", usage: RESPONSE.usage }), 12],
  ["observes an event without a model", (call) => call.observe({ data: { usage: RESPONSE.usage } }), 12],
  ["settles a line of a batch", (call) => call.settle({ customId: "0", response: { statusCode: 200, body: RESPONSE } }), 12],
  ["says nothing", () => undefined, HELD],
  ["gives half a usage", (call) => call.settle({ usage: { promptTokens: 7, completionTokens: 0 } }), 107],
  ["gives what the SDK fills in", (call) => call.settle({ usage: { promptTokens: 0, completionTokens: 0 } }), HELD],
  ["releases and settles", (call) => [call.release(), call.settle(RESPONSE)], 0],
  ["throws", () => assert.fail("the app"), HELD],
  ["is aborted", () => { throw aborted; }, HELD],
  ["throws what looks like a refusal", () => { throw new Refusal(); }, HELD],
  ["says that Mistral refused it", (call) => call.failed(new Refusal()), 0],
  ["says that it did not leave", (call) => call.failed(refused), 0],
  ["says that it failed", (call) => call.failed(new Error("timeout")), HELD],
];

for (const [what, does, spent] of WAYS) {
  test(`L5: a block that ${what} is charged ${spent}, once`, async () => {
    const id = what.replaceAll(" ", "-");
    let ended: Call | undefined;
    await sidecar
      .guard(request(id), async (call) => { ended = call; await does(call); })
      .catch(() => undefined);
    await ended!.settle();
    assert.deepEqual(await state(id), [spent, 0]);
  });
}

test("a call says what to send and what is left", async () => {
  using call = await sidecar.authorize(request("says", { maxTokens: undefined }));
  assert.ok(call.maxTokens! > 9000 && call.counted);
  assert.equal(call.budgets[0]!.held, 10_000n);
  const settlement = await call.settle(RESPONSE);
  assert.deepEqual([settlement!.chargedTokens, settlement!.chargedCostNanoUsd, settlement!.overrun], [12n, 12_000n, false]);
});

test("an unlimited budget has neither ceiling nor remaining", async () => {
  const call = await sidecar.authorize(request("endless"));
  for (const budgets of [call.budgets, await sidecar.getBudgets(who("endless"))]) {
    const endless = budgets.filter((it) => it.unlimited);
    assert.deepEqual(endless.map((it) => it.rule), ["open-end"]);
    assert.ok(!("remaining" in endless[0]!) && !("ceiling" in endless[0]!));
    const left = budgets.flatMap((it) => (it.remaining === undefined ? [] : [it.remaining]));
    assert.deepEqual(left, [1_000_000n - 206n]);
  }
  await call.release();
});

test("every response can be written as JSON, and no number is rounded", async () => {
  const call = await sidecar.authorize(request("json"));
  const { decision, budgets } = call;
  const settlement = await call.settle(RESPONSE);
  const left = await sidecar.getBudgets(who("json"));
  const denied = await sidecar.authorize(request("json", { maxTokens: 2_000_000 })).catch((it) => it);
  const text = JSON.stringify({ deep: [{ decision, budgets, settlement }], left, denied, call });
  const read = JSON.parse(text);
  assert.equal(read.deep[0].decision.heldCostNanoUsd, "206000");
  assert.equal(read.deep[0].decision.budgets[0].remaining, "999794");
  assert.deepEqual(read.deep[0].settlement.chargedCostNanoUsd, "12000");
  assert.equal(read.left[0].spent, "12");
  assert.equal(read.denied.budgets[0].ceiling, "1000000");
  assert.deepEqual(Object.keys(read.left[0]), Object.keys(left[0]!));
  assert.deepEqual(structuredClone(left), left);
});

test("a response of another model is charged at its price", async () => {
  const call = await sidecar.authorize(request("dear"));
  assert.equal((await call.settle({ ...RESPONSE, model: "dear-1" }))!.chargedCostNanoUsd, 120_000n);
});

test("a denied call throws all that the sidecar said, and the block never runs", async () => {
  const before = await sidecar.authorize(request("denied", { maxTokens: 900_000 }));
  const pending = sidecar.guard(request("denied", { maxTokens: 200_000 }), async () => assert.fail("ran"));
  await assert.rejects(pending, (error: Denied) => {
    assert.ok(error instanceof Denied && !(error instanceof Unavailable));
    assert.deepEqual([error.httpStatus, error.reasons[0]!.code, error.name], [429, "TOO_MUCH", "Denied"]);
    return error.retryAfterSeconds! > 0;
  });
  await before.release();
});

test("a mistake of the app's is refused, also where outages let calls out", async () => {
  const open = new SidecarClient(ADDRESS, { whenUnavailable: "allow" });
  await assert.rejects(open.authorize(request("")), /INVALID_ARGUMENT: principal.id/);
  await open.close();
  await assert.rejects(open.authorize(request("x")), Refused);
  await assert.rejects(sidecar.authorize(request("x", { messages: [{ content: [{ type: "file" }] }] })), Unbounded);
  // @ts-expect-error: whether calls go out unanswered has no default
  assert.throws(() => new SidecarClient(ADDRESS, {}), /whenUnavailable/);
});

test("asking that is aborted gives the hold back", async () => {
  for (const delay of [0, 1, 5, 50]) {
    const pending = sidecar.authorize(request("aborted", { signal: AbortSignal.timeout(delay) }));
    const call = await pending.catch((error: Error) => assert.match(error.name, /Abort|Timeout/));
    if (call) await call.release();
  }
  for (let tries = 0; (await state("aborted"))[1] && tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(await state("aborted"), [0, 0]);
});

test("64 callers at once share one sidecar", async () => {
  const calls = Array.from({ length: 64 }, () =>
    sidecar.guard(request("many"), async (call) => call.settle(RESPONSE)),
  );
  await Promise.all(calls);
  assert.deepEqual(await state("many"), [64 * 12, 0]);
});

test("fail closed throws, fail open lets the call out marked", async () => {
  const closed = new SidecarClient(LATE_ADDRESS, { whenUnavailable: "deny", deadlineMs: 300 });
  await assert.rejects(closed.authorize(request("x")), (error: Denied) => {
    assert.deepEqual([error.name, error.httpStatus], ["Unavailable", 503]);
    return error instanceof Denied;
  });
  await assert.rejects(closed.getBudgets(who("x")), Unavailable);
  await closed.close();
});

test("L3: open calls are counted later; a kill before Settle and a restart double nothing", async () => {
  const open = new SidecarClient(LATE_ADDRESS, { whenUnavailable: "allow", deadlineMs: 300 });
  const call = await open.authorize(request("late"));
  assert.deepEqual([call.counted, call.maxTokens, call.budgets], [false, 100, []]);
  const settlement = call.settle(RESPONSE);
  let sidecar = await startLate();
  assert.equal((await settlement)!.chargedTokens, 12n);

  const patient = new SidecarClient(LATE_ADDRESS, { whenUnavailable: "deny", deadlineMs: 30_000 });
  const held = await patient.authorize(request("late"));
  await kill(sidecar);
  const settled = held.settle(RESPONSE);
  const pending = patient.authorize(request("late"));
  sidecar = await startLate();
  assert.equal((await settled)!.chargedTokens, 12n);
  await (await pending).settle(RESPONSE);
  assert.deepEqual(await state("late", patient), [36, 0]);
  await Promise.all([open.close(), patient.close()]);
  await kill(sidecar);
});
