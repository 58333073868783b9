-- What every script here ends with: it runs what goes before it, as
-- run(KEYS, ARGV), if Redis has all that the caller knows to be written.
-- KEYS: those of run, then leader (hash, see take_leader.lua) and token (hash: id,
--       mark)
-- ARGV: those of run, then who must lead ('': whoever), the id that the token must
--       have ('': whichever), the least mark, and 1 if run changes what must not be
--       lost
-- Returns the mark and the answer of run; -1 alone if the token is gone or
-- another one, -2 if the mark is behind, -3 if another one leads.
-- Its own are taken off the end, so that nothing has to be copied.
local key, leader, last = KEYS[#KEYS], KEYS[#KEYS - 1], #ARGV
local holder, id, least, changes = ARGV[last - 3], ARGV[last - 2], ARGV[last - 1], ARGV[last]
KEYS[#KEYS] = nil
KEYS[#KEYS] = nil
ARGV[last], ARGV[last - 1], ARGV[last - 2], ARGV[last - 3] = nil, nil, nil, nil
local token = redis.call('HMGET', key, 'id', 'mark')
if id ~= '' then
  if token[1] ~= id then
    return {-1}
  elseif tonumber(token[2] or 0) < tonumber(least) then
    return {-2}
  end
end
if holder ~= '' and redis.call('HGET', leader, 'holder') ~= holder then
  return {-3}
end
local answer = run(KEYS, ARGV)
-- Without a token there is nothing yet that could be lost.
if changes == '1' and redis.call('EXISTS', key) == 1 then
  return {redis.call('HINCRBY', key, 'mark', 1), answer}
end
return {tonumber(token[2] or 0), answer}
