-- Replaces the checkpoint, and returns what came of it and the id of the token.
-- KEYS: token (hash, see guard.lua; checkpointed: there has been a checkpoint),
--       checkpoint (hash)
-- ARGV: writer, version to write, 1 if a checkpoint must be there, an id for the
--       token if there is none, then field, value, ...
-- A writer's versions only rise. The same one may come twice (its answer was
-- lost); a lower one is a request that was overtaken.
local stored = redis.call('HMGET', KEYS[2], 'writer', 'version')
if not stored[1] then
  if ARGV[3] == '1' or redis.call('HEXISTS', KEYS[1], 'checkpointed') == 1 then
    return {'lost'}
  end
elseif stored[1] == ARGV[1] and tonumber(stored[2]) > tonumber(ARGV[2]) then
  return {'overtaken'}
end
redis.call('HSETNX', KEYS[1], 'id', ARGV[4])
redis.call('HSET', KEYS[1], 'checkpointed', '1')
redis.call('HSET', KEYS[2], 'writer', ARGV[1], 'version', ARGV[2], unpack(ARGV, 5))
return {'saved', redis.call('HGET', KEYS[1], 'id')}
