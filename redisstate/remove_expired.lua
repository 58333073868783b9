-- Removes those of some channels whose lease has ended; one may have been
-- renewed since the caller looked. Returns how many were removed.
-- KEYS: leases (hash, see renew_channels.lua)
-- ARGV: now, then at most some thousand channels
local removed = 0
for i = 2, #ARGV do
  local lease = redis.call('HGET', KEYS[1], ARGV[i])
  if lease and tonumber(string.match(lease, '^%d+ %d+ (%d+)')) < tonumber(ARGV[1]) then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
