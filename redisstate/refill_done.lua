-- Takes records out of a channel's refill, but not those that were asked for
-- again since, and ends the refill if none is left.
-- KEYS: refills (set of channels), the channel's refill (hash)
-- ARGV: channel, then at most 1000 times member, start
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SREM', KEYS[1], ARGV[1])
end
return redis.status_reply('OK')
