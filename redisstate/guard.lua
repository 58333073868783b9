-- What every script here ends with: it runs what goes before it, as
-- run(KEYS, ARGV), if Redis has all that the caller knows to be written.
-- KEYS: token (hash: id, mark), then those of run
-- ARGV: the id that the token must have ('': whichever), the least mark, 1 if run
--       changes what must not be lost, then those of run
-- Returns the mark and the answer of run; -1 alone if the token is gone or
-- another one, -2 if the mark is behind.
local token = redis.call('HMGET', KEYS[1], 'id', 'mark')
if ARGV[1] ~= '' then
  if token[1] ~= ARGV[1] then
    return {-1}
  elseif tonumber(token[2] or 0) < tonumber(ARGV[2]) then
    return {-2}
  end
end
local keys, args = {}, {}
for i = 2, #KEYS do
  keys[i - 1] = KEYS[i]
end
for i = 4, #ARGV do
  args[i - 3] = ARGV[i]
end
local answer = run(keys, args)
-- Without a token there is nothing yet that could be lost.
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  return {redis.call('HINCRBY', KEYS[1], 'mark', 1), answer}
end
return {tonumber(token[2] or 0), answer}
