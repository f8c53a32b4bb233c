"""What the delivery log does in Redis at one stroke. See ``pipeline.adapters.redis_delivery_log`` for the keys.

Compare-and-set where a decision was taken in Python: it holds only while that on which it was taken still stands there. A
lane is in ``due`` or, while its first step is on its way or sealed to another's, in ``leased``.
"""

from typing import Final

# When a lane is due: the rule of ``core.delivery.lane_due_ms``.
_DUE_OF: Final = """
local function due_of(lane, deliveries)
  local ids = redis.call('ZRANGE', lane, 0, -1)
  local first = cjson.decode(redis.call('GET', deliveries .. ids[1]))
  local due = first.next_attempt_ms
  if first.attempts == 0 then
    for n = 2, #ids do due = math.min(due, cjson.decode(redis.call('GET', deliveries .. ids[n])).next_attempt_ms) end
  end
  return due
end
"""
# KEYS: delivery, due, leased, lane, held. ARGV: expected JSON ("" for none), new JSON, revision, delivery id, alert id, whether
# it must still be the newest held step, prefix of deliveries.
ADD: Final = (
    _DUE_OF
    + """
local known = redis.call('GET', KEYS[1]) or ''
if known ~= ARGV[1] then return 0 end
if ARGV[6] == '1' and redis.call('HGET', KEYS[5], ARGV[5]) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[5], ARGV[5])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[4])
if not redis.call('ZSCORE', KEYS[3], ARGV[5]) then redis.call('ZADD', KEYS[2], due_of(KEYS[4], ARGV[7]), ARGV[5]) end
return 1
"""
)
# KEYS: delivery, held. ARGV: JSON, alert id, delivery id, whether the alert is over.
HOLD: Final = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 0 end
if ARGV[4] == '1' then redis.call('HDEL', KEYS[2], ARGV[2]) else redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
return 1
"""
# KEYS: due, leased. ARGV: now, end of the lease, prefix of lanes, prefix of deliveries.
CLAIM: Final = """
local over = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'WITHSCORES')
for n = 1, #over, 2 do
  redis.call('ZREM', KEYS[2], over[n])
  redis.call('ZADD', KEYS[1], over[n + 1], over[n])
end
local alert = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)[1]
if not alert then return false end
redis.call('ZREM', KEYS[1], alert)
redis.call('ZADD', KEYS[2], ARGV[2], alert)
return redis.call('GET', ARGV[4] .. redis.call('ZRANGE', ARGV[3] .. alert, 0, 0)[1])
"""
# KEYS: due, leased, held, then of each delivery: itself, its lane. ARGV: now, whether they leave their lanes, whether they may be
# released later, prefix of deliveries, then of each delivery: new JSON, delivery id, alert id.
STORE: Final = (
    _DUE_OF
    + """
for n = 0, (#KEYS - 3) / 2 - 1 do
  local delivery, lane = KEYS[4 + 2 * n], KEYS[5 + 2 * n]
  local json, id, alert = ARGV[5 + 3 * n], ARGV[6 + 3 * n], ARGV[7 + 3 * n]
  if redis.call('ZSCORE', lane, id) then
    redis.call('SET', delivery, json)
    redis.call('ZREM', KEYS[2], alert)
    if ARGV[2] == '1' then redis.call('ZREM', lane, id) end
    if redis.call('EXISTS', lane) == 1 then
      redis.call('ZADD', KEYS[1], math.max(tonumber(ARGV[1]), due_of(lane, ARGV[4])), alert)
    else
      redis.call('ZREM', KEYS[1], alert)
      if ARGV[3] == '1' then redis.call('HSET', KEYS[3], alert, id) end
    end
  end
end
"""
)
# KEYS: due, leased, leader. ARGV: expected JSON of the leader, new JSON, prefix of lanes, then of each member: alert and
# delivery id.
SEAL: Final = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
for n = 4, #ARGV, 2 do
  if not redis.call('ZSCORE', KEYS[1], ARGV[n]) then return 0 end
  if redis.call('ZRANGE', ARGV[3] .. ARGV[n], 0, 0)[1] ~= ARGV[n + 1] then return 0 end
end
redis.call('SET', KEYS[3], ARGV[2])
for n = 4, #ARGV, 2 do
  redis.call('ZREM', KEYS[1], ARGV[n])
  redis.call('ZADD', KEYS[2], 'inf', ARGV[n])
end
return 1
"""
# KEYS: due, leased, leader. ARGV: expected JSON of the leader, new JSON, now, then of each member: alert id.
UNSEAL: Final = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return end
redis.call('SET', KEYS[3], ARGV[2])
for n = 4, #ARGV do
  redis.call('ZREM', KEYS[2], ARGV[n])
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[n])
end
"""
