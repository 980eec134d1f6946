/**
 * Calling Mistral within a budget: ask the sidecar, send what it allows, settle what was used.
 *
 *     const sidecar = new SidecarClient("127.0.0.1:50051", { whenUnavailable: "deny" });
 *     const response = await sidecar.guard({ principal, model, messages }, async (call) =>
 *       call.used(await mistral.chat.complete({ model, messages, maxTokens: call.maxTokens })));
 *
 * `guard` of "mistral-spend-client/mistral" does the same around the whole SDK.
 */
export { type CallRequest, SidecarClient, type SidecarClientOptions } from "./sidecar-client.js";
export { Call } from "./call.js";
export type {
  BudgetState,
  Decision,
  Estimate,
  Principal,
  Reason,
  Settlement,
  Warning,
} from "./contract.js";
export { BudgetError, Denied, Refused, Replayed, Unavailable, Unbounded, Unguarded } from "./errors.js";
/** @deprecated The earlier name of SidecarClient, for one more minor version. */
export { SidecarClient as Budget } from "./sidecar-client.js";
