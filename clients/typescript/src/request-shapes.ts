/**
 * The shapes of Mistral's requests: the members of each endpoint's body, at every depth.
 *
 * A text has at most as many tokens as bytes. So a body bounds a call only if all of it is known
 * to be text, or a setting. Whatever is not listed here might make Mistral read or run more.
 */
import type { Endpoint } from "./contract.js";

/** What the bytes of a body do not bound, and what is malformed in it. */
export interface Findings {
  /** Images, audio and documents in messages, each as its part of the body. */
  readonly attachments: unknown[];
  /** Where tools are that run at Mistral. */
  readonly tools: string[];
  /** Where members or types are that are not known here. */
  readonly unknown: string[];
  /** Known members that Mistral's API has in another form, each with the problem. */
  readonly malformed: string[];
}

/**
 * Compares a value with what is known of it, and notes the differences. It is never called with
 * null: a member that is null is left out.
 */
type Shape = (value: unknown, path: string, found: Findings) => void;
type Members = Readonly<Record<string, Shape>>;

const text: Shape = (value, path, found) => {
  if (typeof value !== "string") found.malformed.push(`${path} is not a string`);
};
/** A text, a number or a boolean. */
const setting: Shape = (value, path, found) => {
  if (typeof value === "object") found.malformed.push(`${path} is not a plain value`);
};
/** Such as a JSON Schema, which the model gets as text. */
const anyJson: Shape = () => undefined;
const unbounded: Shape = (_, path, found) => void found.unknown.push(path);
const toolOfMistral: Shape = (_, path, found) => void found.tools.push(path);
/** The one mode whose prompt is known. */
const promptMode: Shape = (value, path, found) => {
  if (value !== "reasoning") found.unknown.push(path);
};

const list =
  (item: Shape, otherwise?: Shape): Shape =>
  (value, path, found) => {
    if (Array.isArray(value)) value.forEach((each, place) => item(each, `${path}[${place}]`, found));
    else if (otherwise) otherwise(value, path, found);
    else found.malformed.push(`${path} is not a list`);
  };

const object =
  (members: Members): Shape =>
  (value, path, found) => {
    if (!isObject(value)) {
      found.malformed.push(`${path} is not an object`);
      return;
    }
    const seen = new Set<string>();
    for (const [name, each] of Object.entries(value)) {
      const known = snakeName(name);
      if (seen.has(known)) found.malformed.push(`${path} has a member in two spellings`);
      seen.add(known);
      member(members, name, each, path, found);
    }
  };

/** Check one member. The path of an unknown one ends before its name, which is foreign text. */
function member(members: Members, name: string, value: unknown, path: string, found: Findings): void {
  const inside = path ? `${path}.` : "";
  const known = snakeName(name);
  // Some parsers, such as Go's, ignore case, and fold two other letters to ASCII ones.
  const folded = name.toUpperCase().toLowerCase();
  if (Object.hasOwn(members, known)) {
    if (value !== null) members[known]!(value, inside + known, found);
  } else if (Object.hasOwn(members, folded)) {
    found.malformed.push(`${inside}${folded} is not spelled in lower case`);
  } else if (value !== null) {
    found.unknown.push(path || "the body");
  }
}

/** Choose the shape of an object by its `type`; `without` is for an object that has none. */
const byType =
  (shapes: Members, without: Shape = unbounded): Shape =>
  (value, path, found) => {
    const kind = isObject(value) ? (value["type"] ?? null) : 0;
    if (kind === null) without(value, path, found);
    else if (typeof kind === "string" && Object.hasOwn(shapes, kind)) shapes[kind]!(value, path, found);
    else found.unknown.push(path);
  };

const textOr =
  (other: Shape): Shape =>
  (value, path, found) => {
    if (typeof value !== "string") other(value, path, found);
  };

/** Count one attachment, and note what else may be in it. */
const attachment = (members: Members): Shape => {
  const known = object({ type: text, ...members });
  return (value, path, found) => {
    found.attachments.push(value);
    known(value, path, found);
  };
};

const each = (shape: Shape, ...names: string[]): Members =>
  Object.fromEntries(names.map((name) => [name, shape]));

const TEXT_PARTS: Members = {
  text: object(each(text, "type", "text")),
  reference: object({ type: text, reference_ids: list(setting) }),
};
const PART = byType({
  ...TEXT_PARTS,
  thinking: object({
    ...each(text, "type", "signature"),
    thinking: textOr(list(byType(TEXT_PARTS), unbounded)),
    closed: setting,
  }),
  image_url: attachment({ image_url: textOr(object(each(text, "url", "detail"))) }),
  document_url: attachment(each(text, "document_url", "document_name")),
  file: attachment(each(text, "file_id")),
  input_audio: attachment({ input_audio: textOr(object(each(text, "data", "format"))) }),
});
const CONTENT = textOr(list(PART, unbounded));

const TOOL_CALL = object({
  ...each(setting, "id", "type", "index"),
  function: object({ name: text, arguments: anyJson }),
});
const MESSAGE = object({
  ...each(text, "role", "name", "tool_call_id"),
  content: CONTENT,
  tool_calls: list(TOOL_CALL),
  prefix: setting,
});

const FUNCTION = object({
  type: text,
  function: object({ ...each(text, "name", "description"), strict: setting, parameters: anyJson }),
});
const TOOLS_OF_MISTRAL = [
  "web_search",
  "web_search_premium",
  "code_interpreter",
  "image_generation",
  "document_library",
  "connector",
];
const TOOL = byType({ function: FUNCTION, ...each(toolOfMistral, ...TOOLS_OF_MISTRAL) }, FUNCTION);

const FORMAT = object({
  type: text,
  json_schema: object({
    ...each(text, "name", "description"),
    strict: setting,
    // The SDK's name, and that of the API.
    ...each(anyJson, "schema_definition", "schema"),
  }),
});

const GENERATION: Members = {
  ...each(setting, "model", "max_tokens", "min_tokens", "temperature", "top_p", "stream"),
  ...each(setting, "random_seed", "prompt_cache_key"),
  stop: textOr(list(text)),
  metadata: anyJson,
};
const CHAT = object({
  ...GENERATION,
  ...each(setting, "n", "service_tier", "safe_prompt", "presence_penalty", "frequency_penalty"),
  ...each(setting, "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs"),
  ...each(setting, "top_prompt_logprobs", "parallel_tool_calls", "reasoning_effort"),
  messages: textOr(list(MESSAGE)),
  tools: list(TOOL),
  tool_choice: textOr(object({ type: text, function: object(each(text, "name")) })),
  response_format: FORMAT,
  prediction: object(each(text, "type", "content")),
  prompt_mode: promptMode,
  guardrails: unbounded,
});

const TEXTS = textOr(list(setting));
const CONVERSATION = textOr(list(textOr(list(MESSAGE, MESSAGE))));

/** By endpoint. Requests that are billed by time have none: they do not say how long it is. */
export const SHAPES: Readonly<Partial<Record<Endpoint, Shape>>> = {
  CHAT,
  FIM: object({ ...GENERATION, ...each(text, "prompt", "suffix") }),
  EMBEDDINGS: object({
    ...each(TEXTS, "input", "inputs"), // the API's name, and the SDK's
    ...each(setting, "model", "output_dimension", "output_dtype", "encoding_format"),
    metadata: anyJson,
  }),
  MODERATION: object({ ...each(CONVERSATION, "input", "inputs"), model: setting, metadata: anyJson }),
  OCR: object({
    ...each(setting, "model", "id", "include_image_base64", "image_limit", "image_min_size"),
    ...each(setting, "document_annotation_prompt", "table_format", "extract_header"),
    ...each(setting, "extract_footer", "include_blocks", "confidence_scores_granularity"),
    // The pages are what is billed, whatever the document is.
    ...each(anyJson, "document", "pages"),
    ...each(FORMAT, "document_annotation_format", "bbox_annotation_format"),
  }),
  SPEECH: object({
    ...each(setting, "model", "input", "voice_id", "ref_audio", "stream", "response_format"),
    ...each(setting, "prompt_cache_key", "expressiveness"),
    ...each(anyJson, "metadata", "phoneme_hints"),
    conversation_history: unbounded,
  }),
};

/** The name of a member in Mistral's JSON; the SDK has it in camel case. */
export function snakeName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
