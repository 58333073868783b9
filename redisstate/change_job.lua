-- Adds channels and items to a job, then takes items out of it, except those
-- that were asked for again since, and ends it with its last item. Returns the
-- number under which items were added, or nil if the job is gone.
-- KEYS: jobs, starts, the job's channels, its items (see start_job.lua)
-- ARGV: id, how many channels, the channels, how many items to add, those, then
--       text, number, text, number, ... of items that are done; 1000 of each
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return false
end
local channels = tonumber(ARGV[2])
if channels > 0 then
  redis.call('SADD', KEYS[3], unpack(ARGV, 3, 2 + channels))
end
local at = 3 + channels
local added = tonumber(ARGV[at])
local asked = 0
if added > 0 then
  asked = redis.call('INCR', KEYS[2])
  local scored = {}
  for i = at + 1, at + added do
    scored[#scored + 1] = asked
    scored[#scored + 1] = ARGV[i]
  end
  redis.call('ZADD', KEYS[4], unpack(scored))
end
for i = at + added + 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[4], ARGV[i]) == ARGV[i + 1] then
    redis.call('ZREM', KEYS[4], ARGV[i])
  end
end
if redis.call('EXISTS', KEYS[4]) == 0 then
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return asked
