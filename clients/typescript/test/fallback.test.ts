import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Call, Denied, SidecarClient, Unavailable } from "../src/index.js";
import { guard, type GuardedMistral, type GuardOptions } from "../src/mistral.js";
import { ABSENT_ADDRESS, BUDGET_ADDRESS, MESSAGES, mistralClient, received, who } from "./world.js";

let sidecar: SidecarClient;
before(() => (sidecar = new SidecarClient(BUDGET_ADDRESS, { whenUnavailable: "deny", deadlineMs: 20_000 })));
after(() => sidecar.close());

/** A principal of each test has a cent in total: 1,000 output tokens of dear-1, less its input. */
const chat = { model: "dear-latest", messages: MESSAGES, maxTokens: 5000 };

const WAYS: [string, (mistral: GuardedMistral) => Promise<unknown>][] = [
  ["complete", (mistral) => mistral.chat.complete(chat)],
  ["stream", async (mistral) => {
    for await (const _ of await mistral.chat.stream(chat));
  }],
];

for (const [how, send] of WAYS) {
  test(`a call that is too large is sent with the output that fits: ${how}`, async () => {
    const person = who(`shrink-${how}`);
    const accepts: GuardOptions = { whenDenied: "shrink", minOutputTokens: 900, fallbackModels: ["cheap-1"] };
    await send(guard(mistralClient(), sidecar, person, accepts));
    const body = await received();
    const output = body["max_tokens"] as number;
    assert.equal(body["model"], "dear-latest");
    assert.ok(output > 900 && output < 1000, `${output}`);
    // It was held with the bounds of the first request, and is settled: 7 and 5 tokens, or 7 and 10.
    const [cent] = await settled(`shrink-${how}`);
    assert.ok(cent!.spent > 0n && cent!.spent < 200_000n, `${cent!.spent}`);
  });

  for (const minOutputTokens of [undefined, 1000]) {
    test(`a call falls back to a model that the app named: ${how}, least ${minOutputTokens}`, async () => {
      const person = who(`fallback-${how}-${minOutputTokens}`);
      const fallbackModels = ["none-1", "cheap-1"];
      await send(guard(mistralClient(), sidecar, person, { whenDenied: "shrink", minOutputTokens, fallbackModels }));
      const body = await received();
      assert.deepEqual([body["model"], body["max_tokens"]], ["cheap-1", 5000]);
    });
  }
}

const REFUSED: [string, GuardOptions][] = [
  ["by default", {}],
  ["below the least output", { whenDenied: "shrink", minOutputTokens: 1000 }],
  ["where only models fit that it did not name", { whenDenied: "shrink", fallbackModels: ["none-1"] }],
];
for (const [when, options] of REFUSED) {
  test(`a call is denied ${when}, and the error says what would fit`, async () => {
    const mistral = guard(mistralClient(), sidecar, who("denied"), options);
    await assert.rejects(mistral.chat.complete(chat), (error: Denied) => {
      assert.ok(error instanceof Denied);
      assert.ok(error.fittingMaxOutputTokens > 900 && error.fittingMaxOutputTokens < 1000);
      assert.deepEqual(error.fittingModels, ["cheaper-1", "cheap-1"]);
      return /TOO_MUCH/.test(error.message);
    });
  });
}

test("a denied call is authorized once more, and not again", async () => {
  const mistral = guard(mistralClient(), sidecar, who("once"), { whenDenied: "shrink", minOutputTokens: 1 });
  const requested: object[] = [];
  let between: Call | undefined;
  const authorize = sidecar.authorize.bind(sidecar);
  sidecar.authorize = async (request) => {
    requested.push(request);
    // The budget is used up between the two: what fitted does not fit any more.
    if (requested.length === 2) between = await authorize(request);
    return authorize(request);
  };
  try {
    await assert.rejects(mistral.chat.complete(chat), Denied);
  } finally {
    sidecar.authorize = authorize;
    await between?.release();
  }
  assert.equal(requested.length, 2);
});

test("options that contradict each other are refused when the client is made", () => {
  const wrong = [
    { whenDenied: "shrink" },
    { minOutputTokens: 10 },
    { fallbackModels: ["cheap-1"] },
    { whenDenied: "shrink", minOutputTokens: 0 },
    { whenDenied: "shrink", minOutputTokens: 1.5 },
    { whenDenied: "shrink", fallbackModels: "cheap-1" },
    { whenDenied: "retry" },
  ];
  for (const options of wrong) {
    const made = () => guard(mistralClient(), sidecar, who("x"), options as GuardOptions);
    assert.throws(made, { name: "TypeError", message: /whenDenied|minOutputTokens|fallbackModels/ });
  }
  // @ts-expect-error: no such way
  assert.throws(() => guard(mistralClient(), sidecar, who("x"), { whenDenied: "retry" }), TypeError);
});

test("an outage is not shrunk, and names nothing that fits", async () => {
  const absent = new SidecarClient(ABSENT_ADDRESS, { whenUnavailable: "deny", deadlineMs: 300 });
  const options: GuardOptions = { whenDenied: "shrink", minOutputTokens: 1, fallbackModels: ["cheap-1"] };
  await assert.rejects(guard(mistralClient(), absent, who("x"), options).chat.complete(chat), (error: Unavailable) => {
    assert.ok(error instanceof Unavailable);
    assert.deepEqual([error.fittingMaxOutputTokens, error.fittingModels], [0, []]);
    return true;
  });
  await absent.close();
});

test("a decision has its warnings, and what fits, also as JSON", async () => {
  const call = await sidecar.authorize({ ...chat, principal: who("warned"), model: "cheap-1" });
  const { warnings, fittingMaxOutputTokens, fittingModels } = call.decision!;
  assert.deepEqual(warnings.map((warning) => warning.code), ["MODEL_RETIRES"]);
  assert.match(warnings[0]!.message, /cheap-1 .*2199-01-01/);
  assert.deepEqual([fittingMaxOutputTokens, fittingModels], [0, []]);
  assert.deepEqual(JSON.parse(JSON.stringify(call.decision)).warnings, warnings);
  await call.release();
});

/** Wait until nothing is held, and return the budgets. */
async function settled(id: string) {
  for (;;) {
    const budgets = await sidecar.getBudgets(who(id));
    if (budgets.every((budget) => !budget.held)) return budgets;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
