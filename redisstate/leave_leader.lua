-- Ends the caller's lead.
-- KEYS: leader (hash, see take_leader.lua)
-- ARGV: holder, and 1 if nothing that it has begun is unfinished: then nothing
--       is kept of it
-- Returns 1 if another one leads, else 0.
local holder = redis.call('HGET', KEYS[1], 'holder')
if holder and holder ~= ARGV[1] then
  return 1
end
if holder and ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
elseif holder then
  redis.call('HDEL', KEYS[1], 'holder', 'process', 'renewed', 'first')
end
return 0
