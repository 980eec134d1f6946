import assert from "node:assert/strict";
import { test } from "node:test";
import { SidecarClient, Refused, Replayed } from "../src/index.js";
import { MESSAGES, MODEL, REPEATING_ADDRESS, RESPONSE, who } from "./world.js";

test("L1: a decision that comes again lets no call out, but an own retry with its open hold", async () => {
  // The relay repeats the first request, ends the hold of the second before it asks again, and
  // loses the answer to the third; tests/client/test_typescript.py says so.
  const sidecar = new SidecarClient(REPEATING_ADDRESS, { whenUnavailable: "allow" });
  const ask = () => sidecar.authorize({ principal: who("repeats"), model: MODEL, messages: MESSAGES, maxTokens: 100 });
  await assert.rejects(ask(), (error: Replayed) => {
    assert.ok(error instanceof Replayed && error instanceof Refused);
    assert.deepEqual([error.name, error.code], ["Replayed", "REPLAYED"]);
    return /decided before this call was sent/.test(error.message);
  });
  await assert.rejects(ask(), /REPLAYED: hold .* is no longer open: HOLD_STATE_RELEASED/);
  const call = await ask();
  assert.equal((await call.settle(RESPONSE))!.chargedTokens, 12n);
  await sidecar.close();
});
