-- Ends the caller's lead.
-- KEYS: leader (hash, see take_leader.lua)
-- ARGV: holder, and 1 if nothing that it has begun is unfinished: then nothing
--       is kept of it
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return false
end
if ARGV[2] == '1' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('HDEL', KEYS[1], 'holder', 'process', 'renewed', 'first')
