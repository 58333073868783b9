-- Uses each command that a Store uses on keys, so that one that is forbidden
-- shows.
-- KEYS: a key that nobody else uses
local key = KEYS[1]
for _, words in ipairs({
  {'SET', key, '1'}, {'GET', key}, {'INCR', key}, {'EXISTS', key}, {'DEL', key},
  {'HSET', key, 'a', '1'}, {'HSETNX', key, 'a', '1'}, {'HINCRBY', key, 'a', '1'}, {'HGET', key, 'a'}, {'HMGET', key, 'a'},
  {'HGETALL', key}, {'HLEN', key}, {'HEXISTS', key, 'a'}, {'HSCAN', key, '0'}, {'HDEL', key, 'a'},
  {'SADD', key, 'a'}, {'SMEMBERS', key}, {'UNLINK', key},
  {'ZADD', key, '0', 'a'}, {'ZSCORE', key, 'a'}, {'ZRANGE', key, '0', '-1'}, {'ZRANGEBYSCORE', key, '-inf', '+inf'},
  {'ZRANGEBYLEX', key, '-', '+'}, {'ZREM', key, 'a'},
}) do
  redis.call(unpack(words))
end
return false
