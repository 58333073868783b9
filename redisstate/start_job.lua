-- Makes a job of what the window holds for some streams, and of other items, and
-- returns its items in the order in which they were asked for: text, number, ...
-- Without any, there is no job. Doing it again adds nothing.
-- KEYS: epochs (sorted set), jobs (sorted set of ids, by when they were made),
--       starts (counter), the job's channels (set), its items (sorted set: text,
--       by the number of the start that asked for it last)
-- ARGV: id, first epoch, what an epoch's key begins with, how many streams, the
--       streams, how many channels, the channels (at most 1000), the items
-- The epochs' keys are taken from the index here, not passed as KEYS, so that an
-- epoch added meanwhile is not missed; the hash tag puts them on the same node.
local asked
local function add(members, first, strip)
  for from = first, #members, 1000 do
    asked = asked or redis.call('INCR', KEYS[3])
    local scored = {}
    for i = from, math.min(from + 999, #members) do
      scored[#scored + 1] = asked
      scored[#scored + 1] = string.sub(members[i], strip + 1)
    end
    redis.call('ZADD', KEYS[5], unpack(scored))
  end
end
local streams = tonumber(ARGV[4])
local epochs = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf')
for i = 5, 4 + streams do
  local low, high = '[' .. ARGV[i] .. '\0', '(' .. ARGV[i] .. '\1'
  for _, epoch in ipairs(epochs) do
    add(redis.call('ZRANGEBYLEX', ARGV[3] .. epoch, low, high), 1, #ARGV[i] + 1)
  end
end
local at = 5 + streams
local channels = tonumber(ARGV[at])
add(ARGV, at + channels + 1, 0)
if not asked then
  return {}
end
redis.call('ZADD', KEYS[2], 'NX', asked, ARGV[1])
if channels > 0 then
  redis.call('SADD', KEYS[4], unpack(ARGV, at + 1, at + channels))
end
return redis.call('ZRANGE', KEYS[5], 0, -1, 'WITHSCORES')
