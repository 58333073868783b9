-- Tells which of some streams the window holds anything for, by their numbers
-- from 1 on.
-- KEYS: epochs (sorted set)
-- ARGV: first epoch, what an epoch's key begins with, the streams (at most 1000)
-- The epochs' keys are taken from the index here, see start_job.lua.
local epochs = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf')
local kept = {}
for i = 3, #ARGV do
  local low, high = '[' .. ARGV[i] .. '\0', '(' .. ARGV[i] .. '\1'
  for _, epoch in ipairs(epochs) do
    if #redis.call('ZRANGEBYLEX', ARGV[2] .. epoch, low, high, 'LIMIT', 0, 1) > 0 then
      kept[#kept + 1] = i - 2
      break
    end
  end
end
return kept
