-- Shows that the leader is alive; guard.lua has seen to it that the caller is it.
-- KEYS: leader (hash, see take_leader.lua)
return redis.call('HINCRBY', KEYS[1], 'renewed', 1)
