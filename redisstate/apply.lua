-- Runs commands, one after the other.
-- KEYS: the key of each   ARGV: for each its name, how many words follow the
--       key, and those; about 1000 words each
local at = 1
for i, key in ipairs(KEYS) do
  local words = tonumber(ARGV[at + 1])
  redis.call(ARGV[at], key, unpack(ARGV, at + 2, at + 1 + words))
  at = at + 2 + words
end
return false
