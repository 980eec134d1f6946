-- KEYS: the hold. ARGV: tokens of input and output; empty for as many as were held.
-- Returns the hold's fields, the charge in nano-USD and in tokens, and then what each of its
-- budgets has spent and holds. A second call returns the first charge.
local row = redis.call('HMGET', KEYS[1], 'call', 'state', 'cost', 'tokens')
if not row[1] then return {} end
local call = cjson.decode(row[1])
local input = tonumber(ARGV[1]) or call.input
local output = tonumber(ARGV[2]) or call.output
local cost = tonumber(row[3]) or input * call.input_price + output * call.output_price
local tokens = tonumber(row[4]) or input + output
local charge = {cost = cost, tokens = tokens, requests = 1}
local found = {row[1], cost, tokens}
for _, budget in ipairs(call.budgets) do
  if row[2] == 'open' then
    redis.call('HINCRBY', budget.key, 'held', -budget.takes)
    redis.call('HINCRBY', budget.key, 'spent', charge[budget.meter])
  end
  local balance = redis.call('HMGET', budget.key, 'spent', 'held')
  found[#found + 1], found[#found + 2] = tonumber(balance[1] or 0), tonumber(balance[2] or 0)
end
if row[2] == 'open' then
  redis.call('HSET', KEYS[1], 'state', 'settled', 'cost', cost, 'tokens', tokens)
end
return found
