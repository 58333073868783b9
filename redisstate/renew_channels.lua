-- Renews or makes the leases of some channels.
-- KEYS: leases (hash: channel -> "since seen expires source", in milliseconds)
-- ARGV: now, expires, source, then at most 1000 channels
local names = {unpack(ARGV, 4)}
local fresh = ' ' .. ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]
local old = redis.call('HMGET', KEYS[1], unpack(names))
local fields = {}
for i, name in ipairs(names) do
  local since = old[i] and string.match(old[i], '^%d+') or ARGV[1]
  fields[2 * i - 1] = name
  fields[2 * i] = since .. fresh
end
redis.call('HSET', KEYS[1], unpack(fields))
return #names
