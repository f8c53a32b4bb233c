#!lua name=groundswell_v1
-- Fenced writes. The maths stays in the worker; these functions only compare and set, atomically.
--
-- A user's hash:     s state, v version, r model revision, o:TOPIC:PARTITION last applied offset, c forgotten up to
-- A partition's hash: next offset, scored, dead

local function number(value)
  return tonumber(value or '-1')
end

-- KEYS[1] user. ARGV: expected version, expected cutoff (-1: none), state, revision, idle ttl in ms, then field, offset, ...
-- Returns 1 when written, 0 when another writer was faster or an offset is applied already.
local function write(keys, args)
  local key = keys[1]
  local standing = redis.call('HMGET', key, 'v', 'c')
  if number(standing[1] or '0') ~= tonumber(args[1]) or number(standing[2]) ~= tonumber(args[2]) then
    return 0
  end
  local fields = {'s', args[3], 'v', tostring(tonumber(args[1]) + 1), 'r', args[4]}
  for i = 6, #args, 2 do
    if number(redis.call('HGET', key, args[i])) >= tonumber(args[i + 1]) then
      return 0
    end
    fields[#fields + 1] = args[i]
    fields[#fields + 1] = args[i + 1]
  end
  redis.call('HSET', key, unpack(fields))
  if standing[2] then
    -- The cutoff must outlive the profile: let the other fields expire one by one.
    local names = {}
    for i = 1, #fields, 2 do
      names[#names + 1] = fields[i]
    end
    redis.call('HPEXPIRE', key, args[5], 'FIELDS', #names, unpack(names))
  else
    redis.call('PEXPIRE', key, args[5])
  end
  return 1
end

-- KEYS[1] user. ARGV: expected version, cutoff. Returns 1 when forgotten, 0 when another writer was faster.
local function forget(keys, args)
  local key = keys[1]
  local standing = redis.call('HMGET', key, 'v', 'c')
  if number(standing[1] or '0') ~= tonumber(args[1]) then
    return 0
  end
  redis.call('DEL', key)
  redis.call('HSET', key, 'c', string.format('%d', math.max(number(standing[2]), tonumber(args[2]))))
  return 1
end

-- KEYS[1] partition. ARGV: expected next offset, new next offset, scored, dead. Returns 1 when set, 0 when it moved meanwhile.
local function advance(keys, args)
  if number(redis.call('HGET', keys[1], 'next') or '0') ~= tonumber(args[1]) then
    return 0
  end
  if tonumber(args[2]) > tonumber(args[1]) then
    redis.call('HSET', keys[1], 'next', args[2], 'scored', args[3], 'dead', args[4])
  end
  return 1
end

redis.register_function('groundswell_v1_write', write)
redis.register_function('groundswell_v1_forget', forget)
redis.register_function('groundswell_v1_advance', advance)
