-- Lets a lease end earlier.
-- KEYS: leases (hash, see renew_channels.lua)   ARGV: channel, latest end
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if not lease then
  return 0
end
local since, seen, expires, source = string.match(lease, '^(%d+) (%d+) (%d+) (.*)$')
if tonumber(expires) <= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. seen .. ' ' .. ARGV[2] .. ' ' .. source)
return 1
