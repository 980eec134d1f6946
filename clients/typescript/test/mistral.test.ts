import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { Mistral } from "@mistralai/mistralai";
import { z } from "zod";
import { SidecarClient, Denied, Unbounded, Unguarded } from "../src/index.js";
import { guard, type GuardedMistral } from "../src/mistral.js";
import { ADDRESS, mistralClient, MODEL, received, who } from "./world.js";

let sidecar: SidecarClient;
let mistral: GuardedMistral;
let id = 0;
before(() => (sidecar = new SidecarClient(ADDRESS, { whenUnavailable: "deny", deadlineMs: 20_000 })));
after(() => sidecar.close());
beforeEach(() => {
  id += 1;
  mistral = guard(mistralClient(), sidecar, who(`sdk-${id}`), { pagesPerDocument: 5 });
});

const chat = (content: string, rest: object = {}) => ({
  model: MODEL, messages: [{ role: "user" as const, content }], ...rest,
});

/** Wait until nothing is held; return the tokens spent. */
async function spent(): Promise<number> {
  for (;;) {
    const [limit] = await sidecar.getBudgets(who(`sdk-${id}`));
    if (!limit!.held && limit!.spent + limit!.held >= 0n) return Number(limit!.spent);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("chat sends what is held and settles what was used", async () => {
  const response = await mistral.chat.complete(chat("hello"));
  assert.equal(response.usage.totalTokens, 17);
  assert.equal(await spent(), 17);
  assert.ok(((await received())["max_tokens"] as number) > 9000);
  await mistral.chat.complete(chat("hello", { maxTokens: 3 }));
  assert.equal((await received())["max_tokens"], 3);
  assert.equal(await spent(), 17 + 8);
});

test("streams settle with the usage of their last chunk", async () => {
  let chunks = 0;
  for await (const event of await mistral.chat.stream(chat("hello", { maxTokens: 4 }))) {
    assert.equal(event.data.model, MODEL);
    chunks += 1;
  }
  assert.deepEqual([chunks, await spent()], [4, 9]);
  for await (const _ of await mistral.fim.stream({ model: MODEL, prompt: "x", maxTokens: 3 }));
  assert.equal(await spent(), 9 + 7);
});

test("fim, embeddings and ocr are guarded", async () => {
  await mistral.fim.complete({ model: MODEL, prompt: "def f(", suffix: "return", maxTokens: 7 });
  assert.deepEqual([await spent(), (await received())["max_tokens"]], [12, 7]);
  await mistral.embeddings.create({ model: MODEL, inputs: ["one", "two"] });
  assert.equal(await spent(), 14);
  const document = { type: "document_url" as const, documentUrl: "https://example.com" };
  await mistral.ocr.process({ model: "scan-1", document });
  assert.equal(await spent(), 14);
  const strict = guard(mistralClient(), sidecar, who("strict"));
  await assert.rejects(strict.ocr.process({ model: "scan-1", document }), Unbounded);
});

test("the region is that of the server, and a different one is a mistake", async () => {
  const us = "https://api.us.mistral.ai";
  const options = [{ server: "us" as const }, { serverURL: us }, { serverURL: `${us}/` }];
  for (const where of options) {
    const guarded = guard(new Mistral({ apiKey: "k", ...where }), sidecar, who(`sdk-${id}`));
    await assert.rejects(guarded.chat.complete(chat("hello")), /not in the US/);
  }
  await assert.rejects(mistral.chat.complete(chat("hello"), { serverURL: us }), /not in the US/);
  const given = guard(mistralClient(), sidecar, who(`sdk-${id}`), { region: "us" });
  await assert.rejects(given.chat.complete(chat("hello")), /not in the US/);
  const eu = new Mistral({ apiKey: "k", server: "eu" });
  assert.throws(() => guard(eu, sidecar, who("two"), { region: "us" }), /is in eu, and region is us/);
  guard(eu, sidecar, who("two"), { region: "eu" });
});

for (const trouble of ["left early", "[no usage]", "[broken]"]) {
  test(`L5: a stream that is ${trouble} is charged as held`, async () => {
    const stream = await mistral.chat.stream(chat(trouble, { maxTokens: 10 }));
    const [limit] = await sidecar.getBudgets(who(`sdk-${id}`));
    for await (const _ of stream) if (trouble === "left early") break;
    assert.equal(await spent(), Number(limit!.held));
  });
}

test("L5: what Mistral refuses costs nothing, and what fails is spent", async () => {
  const once = { retries: { strategy: "none" as const } };
  for (const status of [429, 400]) {
    await assert.rejects(mistral.chat.complete(chat(`[status ${status}]`), once));
    assert.equal(await spent(), 0);
  }
  await assert.rejects(mistral.chat.complete(chat("[status 500]", { maxTokens: 1 }), once));
  const after500 = await spent();
  assert.ok(after500 > 60);
  await assert.rejects(mistral.chat.complete(chat("[hang]", { maxTokens: 1 }), { ...once, timeoutMs: 300 }));
  assert.ok((await spent()) > after500 + 60);
});

test("a denied call never reaches Mistral", async () => {
  await mistral.chat.complete(chat("the last", { maxTokens: 1 }));
  await assert.rejects(mistral.chat.complete(chat("no", { maxTokens: 2_000_000 })), Denied);
  await assert.rejects(mistral.chat.stream(chat("no", { maxTokens: 2_000_000 })), Denied);
  assert.deepEqual((await received())["messages"], [{ role: "user", content: "the last" }]);
});

test("parse and parseStream go the same way, with the schema that they send", async () => {
  const responseFormat = z.object({ answer: z.string().describe("d".repeat(300)), why: z.string().optional() });
  const response = await mistral.chat.parse({ ...chat("hello", { maxTokens: 3 }), responseFormat });
  assert.ok("parsed" in response.choices![0]!.message!);
  assert.deepEqual([await spent(), (await received())["max_tokens"]], [8, 3]);
  const stream = await mistral.chat.parseStream({ ...chat("hello", { maxTokens: 4 }), responseFormat });
  const [limit] = await sidecar.getBudgets(who(`sdk-${id}`));
  const schema = Buffer.byteLength(JSON.stringify((await received())["response_format"]));
  assert.ok(schema > 300 && Number(limit!.held) > schema + 4, `${limit!.held} for ${schema}`);
  let chunks = 0;
  for await (const event of stream) chunks += event.data.choices.length;
  assert.deepEqual([chunks, await spent()], [4, 8 + 9]);
  const denied = chat("no", { maxTokens: 2_000_000 });
  await assert.rejects(mistral.chat.parse({ ...denied, responseFormat }), Denied);
  await assert.rejects(mistral.chat.parseStream({ ...denied, responseFormat }), Denied);
  assert.equal((await received())["max_tokens"], 4);
});

/** Each line throws Unguarded; the compiler fails where one of them would compile. */
const UNGUARDED: ((guarded: GuardedMistral) => unknown)[] = [
  // @ts-expect-error: not guarded
  (guarded) => guarded.agents,
  // @ts-expect-error: not guarded
  (guarded) => guarded.beta,
  // @ts-expect-error: not guarded
  (guarded) => guarded.audio,
  // @ts-expect-error: not guarded
  (guarded) => guarded.realtime,
  // @ts-expect-error: not guarded
  (guarded) => guarded.batch,
  // @ts-expect-error: not guarded
  (guarded) => guarded.classifiers,
  // @ts-expect-error: not guarded
  (guarded) => guarded.workflows,
  // @ts-expect-error: not guarded
  (guarded) => guarded.events,
  // @ts-expect-error: not guarded, as all that a new SDK may bring
  (guarded) => guarded.chat.fork,
  // @ts-expect-error: there is no such method of the SDK's that asks
  (guarded) => guarded.embeddings.stream,
  // @ts-expect-error: what takes the whole client may call what throws
  (guarded) => ((client: Mistral) => client.agents)(guarded),
];

test("what is not guarded is not there, and does not compile", () => {
  for (const reach of UNGUARDED) assert.throws(() => reach(mistral), Unguarded);
  assert.ok(mistral.models && mistral.files);
});

test("every method of the guarded parts of the SDK asks, or is not there", () => {
  const client = mistralClient();
  for (const part of ["chat", "fim", "embeddings", "ocr"] as const) {
    for (const method of Object.getOwnPropertyNames(Object.getPrototypeOf(client[part]))) {
      const guarded = mistral[part] as unknown as Record<string, unknown>;
      if (method !== "constructor") assert.equal(typeof guarded[method], "function", `${part}.${method}`);
    }
  }
});
