-- Packs events into the frames of one source, and numbers them: wire/SPEC.md,
-- sections 2 to 4. The frame's time is that of its oldest event, so events are
-- encoded when the frame is finished.
local ffi = require "ffi"
local bit = require "bit"
local idof = require "lectern.id"

assert(ffi.abi "le", "lectern: little-endian machines only")

ffi.cdef [[
typedef struct {
	uint64_t content, user;
	double time;
	uint32_t dwell;
	uint8_t kind;
	int8_t progress;
} lectern_event;
]]

local HEADER, EVENT_MAX = 40, 25
local NAME_HEAD, NAME_MAX = 11, 512
local EVENTS, NAMES = 0x11, 0x15 -- version and type
local AT_MAX, DWELL_MAX, TIME_MAX = 2 ^ 24 - 1, 2 ^ 24 - 1, 2 ^ 48 - 1
local SECONDS_MAX = 1e11 -- as seconds in the year 5138, as milliseconds in 1973
local ATTRIBUTES = { "title", "section", "author", "published", "words" }
local KINDS = { open = 0, read = 1, finish = 2, save = 3, share = 4, impression = 5, click = 6 }

local bytes = ffi.typeof "uint8_t[?]"
local events = ffi.typeof "lectern_event[?]"
local words = ffi.typeof "uint64_t *"
local shorts = ffi.typeof "uint16_t *"
local uint64 = ffi.typeof "uint64_t"
local bor, lshift = bit.bor, bit.lshift
local floor, min, max = math.floor, math.min, math.max

-- A random number for a numbering that begins.
local function draw()
	local f = assert(io.open("/dev/urandom", "rb"))
	local s = f:read(8)
	f:close()
	return ffi.cast("const uint64_t *", s)[0] + 0ULL
end

-- The bytes of an id, one at least.
local function idsize(id)
	if id < 0x100000000ULL then
		if id < 0x10000ULL then return id < 0x100ULL and 1 or 2 end
		return id < 0x1000000ULL and 3 or 4
	end
	if id < 0x1000000000000ULL then return id < 0x10000000000ULL and 5 or 6 end
	return id < 0x100000000000000ULL and 7 or 8
end

-- The bytes of a number below 2^24, none for zero.
local function size(n) return n == 0 and 0 or n < 0x100 and 1 or n < 0x10000 and 2 or 3 end

local Packer = {}
Packer.__index = Packer

local function new(stream, bytesmax)
	local self = {
		stream = stream, max = bytesmax, source = draw(), sequence = 0, position = 0,
		events = events((bytesmax - HEADER) / 2 + 1),
		buffer = bytes(bytesmax + EVENT_MAX + 8),
		count = 0, body = 0, oldest = 0, newest = 0,
		names = {}, namesbody = 0, -- that wait for a frame of their own
	}
	return setmetatable(self, Packer)
end

-- Begins a new source. The events of the unfinished frame will be its own.
function Packer:renew() self.source, self.sequence, self.position = draw(), 0, 0 end

-- An id from a number, a uint64_t or a text; nil of anything else.
local function id(v)
	local t = type(v)
	if t == "string" then return idof(v) end
	if t == "cdata" then return ffi.cast(uint64, v) end
	if t == "number" and v >= 0 and v < 2 ^ 53 and v == floor(v) then return ffi.cast(uint64, v) end
end

-- What no collector would take, or nil.
local function fault(kind, time, dwell, progress)
	if not KINDS[kind] then return "its kind is none of open, read, finish, save, share, impression, click" end
	if KINDS[kind] > 4 and (progress or (dwell or 0) > 255) then
		return "its variant, in the place of dwell, is not 1 to 255, or it has progress"
	end
	if progress and not (progress >= 0 and progress <= 100 and progress == floor(progress)) then
		return "its progress is not 0 to 100 percent"
	end
	if dwell and not (dwell >= 0) then return "its dwell is negative" end
	if not (time <= TIME_MAX) then return "its time is not in Unix milliseconds, 0 to 2^48-1" end
	if time < SECONDS_MAX then
		return "its time is before March 1973 in Unix milliseconds, so these may be seconds"
	end
end

-- Whether a text is UTF-8: nothing cut short, longer than need be, or of no character.
local function utf8(s)
	local i, n = 1, #s
	while i <= n do
		local c, d = s:byte(i, i + 1)
		local more = c < 0x80 and 0 or c >= 0xC2 and c < 0xE0 and 1 or c >= 0xE0 and c < 0xF0 and 2 or c >= 0xF0 and c < 0xF5 and 3
		if not more or i + more > n then return false end
		if c == 0xE0 and d < 0xA0 or c == 0xED and d > 0x9F or c == 0xF0 and d < 0x90 or c == 0xF4 and d > 0x8F then return false end
		for j = i + 1, i + more do
			local follows = s:byte(j)
			if follows < 0x80 or follows > 0xBF then return false end
		end
		i = i + more + 1
	end
	return true
end

-- Puts an event into the unfinished frame, whose arguments are good, or says false
-- where it belongs into the next one.
function Packer:add(kind, content, user, time, dwell, progress)
	local n = self.count
	dwell = min(floor(dwell or 0), DWELL_MAX)
	local last = self.events[n > 0 and n - 1 or 0]
	local body = self.body + 2 + size(dwell) + (progress and 1 or 0)
	local oldest, newest = time, time
	if n > 0 then oldest, newest = min(self.oldest, time), max(self.newest, time) end
	if n == 0 or last.content ~= content then body = body + idsize(content) end
	if n == 0 or last.user ~= user then body = body + idsize(user) end
	local span = newest - oldest
	if span > AT_MAX or HEADER + body + (n + 1) * size(span) > self.max then return false end
	local e = self.events[n]
	e.content, e.user, e.time, e.dwell = content, user, time, dwell
	e.kind, e.progress = KINDS[kind], progress or -1
	self.count, self.body, self.oldest, self.newest = n + 1, body, oldest, newest
	return true
end

function Packer:header(length, count, time, kind)
	local b = self.buffer
	b[0], b[1], b[2], b[3] = 0x4C, 0x45, kind or EVENTS, 0
	local s, w = ffi.cast(shorts, b), ffi.cast(words, b)
	s[2], s[3] = length, count
	w[1] = bor(ffi.cast(uint64, self.stream), lshift(ffi.cast(uint64, time), 16))
	w[2], w[3], w[4] = self.source, self.sequence, self.position
	self.sequence, self.position = self.sequence + 1, self.position + count
end

-- Writes event e at b, of which content and user may be inherited, and returns what
-- is behind it.
local function put(b, e, at, samecontent, sameuser)
	local c, u = samecontent and 0 or idsize(e.content), sameuser and 0 or idsize(e.user)
	local dwell, progress = e.dwell, e.progress
	local a, d, p = size(at), size(dwell), progress >= 0 and 1 or 0
	b[0] = bor(lshift(c, 4), u)
	b[1] = bor(e.kind, lshift(a, 3), lshift(d, 5), lshift(p, 7))
	ffi.cast(words, b + 2)[0] = e.content
	ffi.cast(words, b + 2 + c)[0] = e.user
	-- Seven bytes at most: one store for all three.
	local rest = bor(ffi.cast(uint64, at), lshift(ffi.cast(uint64, dwell), 8 * a))
	if p == 1 then rest = bor(rest, lshift(ffi.cast(uint64, progress), 8 * (a + d))) end
	ffi.cast(words, b + 2 + c + u)[0] = rest
	return b + (2 + c + u + a + d + p)
end

-- The finished frame as a string; it must have events. Its numbers are used up:
-- what becomes of it, the collector's books will say.
function Packer:finish()
	local list, n, oldest = self.events, self.count, self.oldest
	local b = put(self.buffer + HEADER, list[0], list[0].time - oldest, false, false)
	for i = 1, n - 1 do
		local e, before = list[i], list[i - 1]
		b = put(b, e, e.time - oldest, e.content == before.content, e.user == before.user)
	end
	local length = tonumber(b - self.buffer)
	self:header(length, n, oldest)
	self.count, self.body = 0, 0
	return ffi.string(self.buffer, length)
end

-- Forgets the unfinished frame, and the names that wait.
function Packer:clear()
	self.count, self.body = 0, 0
	self.names, self.namesbody = {}, 0
end

-- The text of a name or another attribute as it is sent. Of what no collector would take, nil
-- and why.
function Packer:textof(attribute, value)
	if attribute > 3 and value ~= "" then
		if type(value) == "number" and value >= 0 and value <= TIME_MAX and value == floor(value) then return ("%d"):format(value) end
		return nil, "it is not a number of 0 to 2^48-1"
	end
	local least, most = attribute == 0 and 1 or 0, min(NAME_MAX, self.max - HEADER - NAME_HEAD)
	if type(value) ~= "string" or #value < least or #value > most then
		return nil, ("it is not a text of %d to %d bytes"):format(least, most)
	end
	if not utf8(value) then return nil, "it is not UTF-8" end
	return value
end

-- What stands in a frame of names: what an attribute, 0 being the name, of a content is.
local function name(attribute, content, text)
	local b = bytes(NAME_HEAD)
	b[0] = attribute
	ffi.cast(shorts, b + 1)[0] = #text
	ffi.cast(words, b + 3)[0] = content
	return ffi.string(b, NAME_HEAD) .. text
end

-- Has a good text wait, or says false where their frame has no room for it.
function Packer:addname(attribute, content, text)
	if HEADER + self.namesbody + NAME_HEAD + #text > self.max then return false end
	self.names[#self.names + 1] = name(attribute, content, text)
	self.namesbody = self.namesbody + NAME_HEAD + #text
	return true
end

-- The frame of the names that wait as a string, which uses up a sequence and no position.
function Packer:finishnames(time)
	self:header(HEADER + self.namesbody, 0, time, NAMES)
	local frame = ffi.string(self.buffer, HEADER) .. table.concat(self.names)
	self.names, self.namesbody = {}, 0
	return frame
end

-- A frame without events, which shows how far the source has numbered.
function Packer:beat(time)
	self:header(HEADER, 0, time)
	return ffi.string(self.buffer, HEADER)
end

-- A packer that goes on with the numbers, for beats alone.
function Packer:numbering()
	local p = new(self.stream, HEADER + EVENT_MAX)
	p.source, p.sequence, p.position = self.source, self.sequence, self.position
	return p
end

return {
	new = new, id = id, fault = fault, put = put, name = name, utf8 = utf8, SIZE_MIN = HEADER + EVENT_MAX, ATTRIBUTES = ATTRIBUTES,
}
