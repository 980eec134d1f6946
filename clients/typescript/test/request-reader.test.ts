import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { estimate } from "../src/bounds.js";
import { snakeName } from "../src/request-shapes.js";
import { type Estimate, Unbounded } from "../src/index.js";

interface Vector {
  readonly name: string;
  readonly endpoint: "CHAT";
  readonly request: Readonly<Record<string, unknown>>;
  readonly tokens_per_attachment?: number;
  readonly estimate?: Readonly<Record<string, unknown>>;
}

// dist/test is three folders below clients, as src and test are two.
const FILE = new URL("../../../../tests/vectors/mistral_requests.json", import.meta.url);
const VECTORS = JSON.parse(readFileSync(FILE, "utf8")) as Vector[];

/** Name fields as the contract does, without those that are not set. */
function named(made: Estimate): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(made).filter(([, it]) => it).map(([name, it]) => [snakeName(name), it]),
  );
}

for (const { name, endpoint, request, tokens_per_attachment, estimate: expected } of VECTORS) {
  test(`requests are read as by every other reader: ${name}`, () => {
    const read = () => named(estimate(endpoint, request, {}, tokens_per_attachment));
    if (expected) assert.deepEqual(read(), expected);
    else assert.throws(read, Unbounded);
  });
}

test("a member in two spellings is refused", () => {
  const request = { model: "small-1", messages: "x", maxTokens: 1, max_tokens: 9 };
  assert.throws(() => estimate("CHAT", request), /two spellings/);
});
