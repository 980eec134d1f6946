import assert from "node:assert/strict";
import { test } from "node:test";
import { estimate } from "../src/bounds.js";
import { isLocal } from "../src/connection.js";
import { type Estimate, Unbounded } from "../src/index.js";

const chat = (content: unknown, rest: object = {}) => ({
  model: "small-1",
  messages: [{ role: "user", content }],
  ...rest,
});

const bytes = (request: Record<string, unknown>) => estimate("CHAT", request).inputBytes!;

test("every byte of text counts, whatever its characters, and tools and schemas count too", () => {
  for (const text of ["naïve", "日本語".repeat(100), "🦊".repeat(1000), "\ud83e", "a".repeat(5_000_000)]) {
    assert.ok(bytes(chat(text)) >= Buffer.byteLength(text) + 50);
  }
  const rest = { tools: [{ type: "function", function: { name: "f", parameters: { type: "image_url" } } }] };
  assert.ok(bytes(chat("x", rest)) - bytes(chat("x")) >= JSON.stringify(rest).length - 1);
  assert.ok(bytes(chat("x", { safePrompt: true })) > 512);
  assert.equal(bytes({ maxTokens: 1 }), '{"max_tokens": 1}'.length);
});

test("what bytes do not bound is refused, unless the app bounds it", () => {
  const image = { type: "image_url", imageUrl: "data:image/png;base64," + "A".repeat(10_000) };
  const request = chat([{ type: "text", text: "see" }, image]);
  const text = bytes(chat([{ type: "text", text: "see" }]));
  assert.equal(estimate("CHAT", request, {}, 4000).inputBytes, text + ", ".length + 4000);
  for (const part of [image, { type: "something new" }, { text: "of no type" }]) {
    const request = chat([{ type: "text", text: "see" }, part]);
    assert.throws(() => estimate("CHAT", request), Unbounded);
    assert.equal(estimate("CHAT", request, { inputTokens: 500 }).inputTokens, 500);
  }
  assert.throws(() => estimate("CHAT", chat("x", { tools: [{ type: "web_search" }] })), Unbounded);
  assert.throws(() => estimate("OCR", {}), /by the page/);
  assert.throws(() => estimate("TRANSCRIPTION", {}), /by time/);
  assert.throws(() => estimate("REALTIME", {}), /by time/);
  assert.equal(estimate("SPEECH", { input: "héllo 👋" }).characters, 7);
  assert.equal(estimate("SPEECH", { input: "long" }, { characters: 9 }).characters, 9);
  assert.throws(() => estimate("SPEECH", {}), /by the character/);
  const made = estimate("CHAT", chat("x", { n: 3, maxTokens: 9, serviceTier: "priority" }));
  assert.deepEqual([made.choices, made.maxOutputTokens, made.serviceTier], [3, 9, "priority"]);
});

test("pages that are to be annotated are held as such", () => {
  for (const option of ["documentAnnotationFormat", "bboxAnnotationFormat"]) {
    const request = { [option]: { type: "json_schema" } };
    const pages = ({ pages, annotatedPages }: Estimate) => [pages ?? 0, annotatedPages ?? 0];
    assert.deepEqual(pages(estimate("OCR", request, { pages: 8 })), [0, 8]);
    assert.deepEqual(pages(estimate("OCR", request, { pages: 5, annotatedPages: 3 })), [5, 3]);
    assert.deepEqual(pages(estimate("OCR", { [option]: null }, { pages: 8 })), [8, 0]);
    assert.throws(() => estimate("OCR", request), /by the page/);
  }
});

test("without TLS nothing leaves the host", () => {
  for (const local of ["unix:/s", "127.0.0.1:1", "localhost:1", "[::1]:1", "dns:///localhost:1"]) {
    assert.ok(isLocal(local), local);
  }
  for (const remote of ["10.0.0.1:1", "sidecar.prod.svc:1", "127.0.0.1.example.com:1"]) {
    assert.ok(!isLocal(remote), remote);
  }
});
