-- Copies what the window holds for a channel to the channel's refill and
-- returns the whole refill: member, start, member, start, ...
-- KEYS: epochs (sorted set), refills (set of channels), starts (counter),
--       the channel's refill (hash: table NUL key -> start)
-- ARGV: channel, first epoch, what an epoch's key begins with
-- The epochs' keys are taken from the index here, not passed as KEYS, so that an
-- epoch added meanwhile is not missed; the hash tag puts them on the same node.
local channel = ARGV[1]
local low, high = '[' .. channel .. '\0', '(' .. channel .. '\1'
local start
for _, epoch in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf')) do
  local members = redis.call('ZRANGEBYLEX', ARGV[3] .. epoch, low, high)
  for first = 1, #members, 1000 do
    start = start or redis.call('INCR', KEYS[3])
    local fields = {}
    for i = first, math.min(first + 999, #members) do
      fields[#fields + 1] = string.sub(members[i], #channel + 2)
      fields[#fields + 1] = start
    end
    redis.call('HSET', KEYS[4], unpack(fields))
  end
end
if start then
  redis.call('SADD', KEYS[2], channel)
end
return redis.call('HGETALL', KEYS[4])
