-- Replaces the checkpoint if nobody else has touched it since the caller's last
-- load or save, and returns what came of it and the id of the token.
-- KEYS: token (hash, see guard.lua; checkpointed: there has been a checkpoint),
--       checkpoint (hash)
-- ARGV: writer, version to write, writer and version that were loaded ('' and 0:
--       none), 1 if a checkpoint must be there, an id for the token if there is
--       none, then field, value, ...
-- A writer's versions only rise. The same one may come twice (its answer was
-- lost); a lower one is a request that was overtaken.
local writer, version = ARGV[1], tonumber(ARGV[2])
local stored = redis.call('HMGET', KEYS[2], 'writer', 'version')
if not stored[1] then
  if ARGV[5] == '1' or redis.call('HEXISTS', KEYS[1], 'checkpointed') == 1 then
    return {'lost'}
  end
elseif stored[1] == writer then
  if tonumber(stored[2]) > version then
    return {'conflict'}
  end
elseif stored[1] ~= ARGV[3] or stored[2] ~= ARGV[4] then
  return {'conflict'}
end
redis.call('HSETNX', KEYS[1], 'id', ARGV[6])
redis.call('HSET', KEYS[1], 'checkpointed', '1')
redis.call('HSET', KEYS[2], 'writer', writer, 'version', ARGV[2], unpack(ARGV, 7))
return {'saved', redis.call('HGET', KEYS[1], 'id')}
