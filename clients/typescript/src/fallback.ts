/** What an app accepts in place of a call that limits deny: less output, or another model. */
import { Denied } from "./errors.js";
import type { CallRequest } from "./sidecar-client.js";

export interface FallbackOptions {
  /**
   * What to do with a call that limits deny: "throw" throws Denied, and is the default. "shrink"
   * authorizes it once more, as the sidecar says it would fit: with less output, or else with
   * another model. If that is denied too, it throws Denied.
   */
  readonly whenDenied?: "throw" | "shrink";
  /** The least output tokens that the app can use; without it the output is never shrunk. */
  readonly minOutputTokens?: number | undefined;
  /** The models that the app accepts, the first preferred, by their ids in the policies. */
  readonly fallbackModels?: readonly string[];
}

/** Return what to authorize in place of a denied request; undefined if the app accepts nothing that fits. */
export type Fallback = (request: CallRequest, denied: Denied) => CallRequest | undefined;

/** Read the options of `guard`. Throws TypeError if they contradict each other. */
export function fallback(options: FallbackOptions): Fallback {
  const { whenDenied = "throw", minOutputTokens, fallbackModels = [] } = options;
  if (!["throw", "shrink"].includes(whenDenied)) {
    throw new TypeError('whenDenied is "throw" or "shrink"');
  }
  if (minOutputTokens !== undefined && !(Number.isInteger(minOutputTokens) && minOutputTokens > 0)) {
    throw new TypeError("minOutputTokens is an integer, 1 or more");
  }
  if (!Array.isArray(fallbackModels)) throw new TypeError("fallbackModels is a list of models");
  const models: readonly string[] = [...fallbackModels];
  const accepts = minOutputTokens !== undefined || models.length > 0;
  if (accepts !== (whenDenied === "shrink")) {
    throw new TypeError('whenDenied: "shrink" goes with minOutputTokens, fallbackModels or both');
  }
  return (request, { fittingMaxOutputTokens, fittingModels }) => {
    if (minOutputTokens !== undefined && fittingMaxOutputTokens >= minOutputTokens) {
      return { ...request, estimate: { ...request.estimate, maxOutputTokens: fittingMaxOutputTokens } };
    }
    const model = models.find((name) => fittingModels.includes(name));
    return model === undefined ? undefined : { ...request, model };
  };
}
