"""The Lua that runs inside Redis: what must happen as a whole or not at all."""

from typing import Final

COMMIT: Final = """
-- KEYS: revision, configuration revision, versions, changes, events, audit, store id, lease, then one hash per write
-- ARGV: store id, lease token or '', expected configuration revision or '', change document, audit entry or '',
--       kept changes, kept events, kept audit entries,
--       number of preconditions, then field and version of each,
--       number of events, then each,
--       then for each write: id, document or '' to delete, field of its version or ''
local position = 10
local function refuse(reason, detail)
  return {0, reason, detail or ''}
end
if redis.call('GET', KEYS[7]) ~= ARGV[1] then
  return refuse('store', redis.call('GET', KEYS[7]) or '')
end
if ARGV[2] ~= '' and redis.call('GET', KEYS[8]) ~= ARGV[2] then
  return refuse('lease', redis.call('GET', KEYS[8]) or '')
end
if ARGV[3] ~= '' and (redis.call('GET', KEYS[2]) or '0') ~= ARGV[3] then
  return refuse('configuration', redis.call('GET', KEYS[2]) or '0')
end
for _ = 1, tonumber(ARGV[9]) do
  local held = redis.call('HGET', KEYS[3], ARGV[position]) or '0'
  if held ~= ARGV[position + 1] then
    return refuse('version', ARGV[position] .. ' ' .. held)
  end
  position = position + 2
end
local previous = redis.call('GET', KEYS[1]) or '0'
local revision = redis.call('INCR', KEYS[1])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], revision)
end
local events = tonumber(ARGV[position])
for index = 1, events do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*', 'revision', revision, 'event', ARGV[position + index])
end
position = position + events + 1
for index = 9, #KEYS do
  local id, value, field = ARGV[position], ARGV[position + 1], ARGV[position + 2]
  if value == '' then
    redis.call('HDEL', KEYS[index], id)
    if field ~= '' then redis.call('HDEL', KEYS[3], field) end
  else
    redis.call('HSET', KEYS[index], id, value)
    if field ~= '' then redis.call('HSET', KEYS[3], field, revision) end
  end
  position = position + 3
end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], revision .. '-0',
  'previous', previous, 'configuration', ARGV[3] ~= '' and '1' or '0', 'change', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[8], '*', 'revision', revision, 'entry', ARGV[5])
end
return {1, revision}
"""

RENEW_LEASE: Final = """
-- KEYS: lease. ARGV: token, milliseconds. Takes it where it is free, renews it where the token is ours: 1, else 0.
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if not holder and redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
return 0
"""

DROP_LEASE: Final = """
-- KEYS: lease. ARGV: token.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

PUBLISH_VERDICTS: Final = """
-- KEYS: lease of the vantage, its verdicts, the feed. ARGV: token, vantage, kept entries, then target and verdict each
-- ('' = the target is no longer probed). 1, or 0 where the lease is not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
for index = 4, #ARGV, 2 do
  if ARGV[index + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[index])
  else
    redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1])
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'vantage', ARGV[2], 'target', ARGV[index])
  end
end
return 1
"""

HEARTBEAT: Final = """
-- KEYS: lease of the vantage, heartbeats. ARGV: token, vantage, the heartbeat without its time and opening brace.
-- 1, or 0 where the lease is not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[2], '{"time":' .. now[1] .. '.' .. string.format('%06d', now[2]) .. ',' .. ARGV[3])
return 1
"""

SET_WHILE_LEADER: Final = """
-- KEYS: the leader's lease, a key. ARGV: token, value.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
