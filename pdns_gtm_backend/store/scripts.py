"""The Lua that runs inside Redis: what must happen as a whole or not at all."""

from typing import Final

COMMIT: Final = """
-- KEYS: revision, configuration revision, versions, changes, events, audit, store id, lease, then a hash for each kind
-- ARGV: store id, lease token or '', expected configuration revision or '', change document, audit entry or '',
--       kept changes, kept events, kept audit entries,
--       number of preconditions, then field and version of each,
--       number of events, then each,
--       then for each write: number of its hash's key, id, document or '' to delete, field of its version or ''
-- A script is not rolled back: whatever can be refused is refused before the first write, or is the first write.
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
local wanted = {[3] = 'hash', [4] = 'stream', [5] = 'stream', [6] = 'stream'}
for index = 3, #KEYS do
  local kind, held = wanted[index] or 'hash', redis.call('TYPE', KEYS[index]).ok
  if index ~= 7 and index ~= 8 and held ~= 'none' and held ~= kind then
    return redis.error_reply('ERR the store is damaged: ' .. KEYS[index] .. ' is a ' .. held .. ', not a ' .. kind)
  end
end
for _ = 1, tonumber(ARGV[9]) do
  local held = redis.call('HGET', KEYS[3], ARGV[position]) or '0'
  if held ~= ARGV[position + 1] then
    return refuse('version', ARGV[position] .. ' ' .. held)
  end
  position = position + 2
end
local previous = redis.call('GET', KEYS[1]) or '0'
if not string.match(previous, '^%d+$') then
  return redis.error_reply('ERR the store is damaged: ' .. KEYS[1] .. ' is no number')
end
local function append(revision)
  return redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], revision .. '-0',
    'previous', previous, 'configuration', ARGV[3] ~= '' and '1' or '0', 'change', ARGV[4])
end
local revision = string.format('%d', tonumber(previous) + 1)
local added = append(revision)
if type(added) == 'table' and redis.call('EXISTS', KEYS[4]) == 1 then
  -- the feed is ahead of a revision that was lost or set back: go on after its newest entry
  local stream = redis.call('XINFO', 'STREAM', KEYS[4])
  for index = 1, #stream, 2 do
    if stream[index] == 'last-generated-id' then
      revision = string.format('%d', tonumber(string.match(stream[index + 1], '^%d+')) + 1)
    end
  end
  added = append(revision)
end
if type(added) == 'table' then
  return added
end
redis.call('SET', KEYS[1], revision)
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[2], revision)
end
local events = tonumber(ARGV[position])
for index = 1, events do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[7], '*', 'revision', revision, 'event', ARGV[position + index])
end
for index = position + events + 1, #ARGV, 4 do
  local hash, id, value, field = KEYS[tonumber(ARGV[index])], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
  if value == '' then
    redis.call('HDEL', hash, id)
    if field ~= '' then redis.call('HDEL', KEYS[3], field) end
  else
    redis.call('HSET', hash, id, value)
    if field ~= '' then redis.call('HSET', KEYS[3], field, revision) end
  end
end
if ARGV[5] ~= '' then
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[8], '*', 'revision', revision, 'entry', ARGV[5])
end
return {1, revision}
"""

RENEW_LEASE: Final = """
-- KEYS: lease. ARGV: token held, token to take it with, milliseconds, 1 = take it anew even where it is held.
-- 1 where it is renewed, 2 where it is taken (free, or held with one of our tokens), 0 where another holds it.
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] and ARGV[4] ~= '1' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
if not holder or holder == ARGV[1] or holder == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 2
end
return 0
"""

KEEP_LEASE: Final = """
-- KEYS: lease. ARGV: token, milliseconds. Renews it where it is held with this token: 1, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
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
  end
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'vantage', ARGV[2], 'target', ARGV[index])
end
return 1
"""

HEARTBEAT: Final = """
-- KEYS: lease of the vantage, heartbeats. ARGV: token, vantage, the heartbeat without its time and opening brace.
-- The time, or nil where the lease is not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local now = redis.call('TIME')
local time = now[1] .. '.' .. string.format('%06d', now[2])
redis.call('HSET', KEYS[2], ARGV[2], '{"time":' .. time .. ',' .. ARGV[3])
return time
"""

NOTE_DECIDED: Final = """
-- KEYS: the leader's lease, verdicts decided, verdicts waiting, suspensions, leadership.
-- ARGV: token, position in the feed, and as JSON: wait, done (lists), suspensions (object or null), fields (object).
-- 1, or 0 where the lease is not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local note = cjson.decode(ARGV[3])
redis.call('SET', KEYS[2], ARGV[2])
for _, cause in ipairs(note['done']) do redis.call('SREM', KEYS[3], cause) end
for _, cause in ipairs(note['wait']) do redis.call('SADD', KEYS[3], cause) end
if note['suspensions'] ~= cjson.null then
  redis.call('DEL', KEYS[4])
  for vantage, reason in pairs(note['suspensions']) do redis.call('HSET', KEYS[4], vantage, reason) end
end
for field, value in pairs(note['fields']) do redis.call('HSET', KEYS[5], field, value) end
return 1
"""

NOTE_DELIVERY: Final = """
-- KEYS: the leader's lease, deliveries. ARGV: token, alert, its delivery as JSON ('' = it goes).
-- 1, or 0 where the lease is not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
return 1
"""

FORGET_VANTAGE: Final = """
-- KEYS: store id, lease of the vantage, heartbeats, its verdicts, suspensions, revision, audit.
-- ARGV: store id, vantage, audit entry or '', kept audit entries.
-- 1, 0 where it was not known, -1 where a process has the name now, -2 where this is another store.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -2
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return -1
end
local known = redis.call('HDEL', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[4])
redis.call('HDEL', KEYS[5], ARGV[2])
if known == 1 and ARGV[3] ~= '' then
  local revision = redis.call('GET', KEYS[6]) or '0'
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[4], '*', 'revision', revision, 'entry', ARGV[3])
end
return known
"""

PUSH_REPORTS: Final = """
-- KEYS: store id, reports, their feed. ARGV: store id, kept entries, then for each: its subject, and the report without
-- its time and opening brace. The time, or nil where this is another store.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local now = redis.call('TIME')
local time = now[1] .. '.' .. string.format('%06d', now[2])
for index = 3, #ARGV, 2 do
  local report = '{"at":' .. time .. ',' .. ARGV[index + 1]
  redis.call('HSET', KEYS[2], ARGV[index], report)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'subject', ARGV[index], 'report', report)
end
return time
"""

PURGE_REPORTS: Final = """
-- KEYS: configuration revision, reports. ARGV: the revision that the subjects are not part of, then the subjects.
-- How many there were, or -1 where the configuration is another one by now.
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return -1
end
return redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
"""
