-- Makes the caller the leader, if nobody else has become it and the one of
-- before has not renewed. Doing it again changes nothing.
-- KEYS: leader (hash: holder, name, app, process, renewed, first)
-- ARGV: holder and renewals that the caller has seen ('' without), then its own
--       holder, name, app and process
-- Returns 'first' if there was nothing, 'taken' if there was; nil otherwise.
local found = redis.call('HMGET', KEYS[1], 'holder', 'renewed', 'first')
local holder, renewed, first = found[1] or '', found[2] or '', found[3]
if holder ~= ARGV[3] then
  if holder ~= ARGV[1] or renewed ~= ARGV[2] then
    return false
  end
  first = tostring(1 - redis.call('DEL', KEYS[1]))
  redis.call('HSET', KEYS[1], 'holder', ARGV[3], 'name', ARGV[4], 'app', ARGV[5], 'process', ARGV[6],
    'renewed', '0', 'first', first)
end
return first == '1' and 'first' or 'taken'
