-- Raises the ceiling of issued positions, never lowers it, and returns it.
-- KEYS: seq (string)   ARGV: the least value it must have
-- Positions are below 2^53, so Lua's numbers compare them exactly.
local seq = redis.call('GET', KEYS[1]) or '0'
if tonumber(ARGV[1]) > tonumber(seq) then
  redis.call('SET', KEYS[1], ARGV[1])
  return ARGV[1]
end
return seq
