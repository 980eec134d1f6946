-- KEYS: the hold, and its budgets. ARGV: the hold's fields as JSON, when it ends, and for each
-- budget its ceiling (-1 for none), what the call may take, and when the window ends.
-- Returns whether all have room, and then what each has spent and holds.
local found, fits = {1}, true
for i = 2, #KEYS do
  local row = redis.call('HMGET', KEYS[i], 'spent', 'held')
  local spent, held = tonumber(row[1] or 0), tonumber(row[2] or 0)
  local ceiling, takes = tonumber(ARGV[3 * i - 3]), tonumber(ARGV[3 * i - 2])
  if ceiling >= 0 and spent + held + takes > ceiling then fits = false end
  found[2 * i - 2], found[2 * i - 1] = spent, held
end
if not fits then found[1] = 0 return found end
for i = 2, #KEYS do
  found[2 * i - 1] = redis.call('HINCRBY', KEYS[i], 'held', ARGV[3 * i - 2])
  redis.call('EXPIREAT', KEYS[i], ARGV[3 * i - 1], 'NX')
end
redis.call('HSET', KEYS[1], 'call', ARGV[1], 'state', 'open')
redis.call('EXPIREAT', KEYS[1], ARGV[2])
return found
