-- Sends read events to a Lectern collector over UDP. See README.md.
--
--	local lectern = require "lectern"
--	local emitter = assert(lectern.udp { host = "127.0.0.1", port = 8420, stream = 1 })
--	emitter:open("/articles/42", "reader-9")
--
-- What is here waits for nothing and looks at no clock but that of its options: one
-- function, step, does what is due. In nginx lectern.nginx calls it from a timer.
local ffi = require "ffi"
local packer = require "lectern.packer"

pcall(ffi.cdef, "int getpid(void);")

local BEATS, BEAT_GAP = 3, 20 -- ms
local BEAT_MIN, BEAT_MAX = 1000, 16000
local RENEW_WAIT = 1000
local SAID_FOR = 3600000 -- ms, over which a name is not said again: nobody answers, so that one may have been lost
local SAID_MAX = 4096 -- names and attributes of a generation, of which two are remembered
local min = math.min

local Emitter = {}
Emitter.__index = Emitter

-- Gives a numbered frame to the kernel. An answer that nobody listens is for the
-- datagram before it, and comes in place of sending this one: so that is tried again.
local function send(self, flow, frame, events)
	local stats = self.counts
	stats.frames = stats.frames + 1
	local ok, why, refused = flow.socket:send(frame)
	if not ok and refused then
		stats.unreachable = stats.unreachable + flow.events
		flow.events = 0
		self.why = why
		self:renewsoon()
		ok, why, refused = flow.socket:send(frame)
	end
	if ok then
		stats.sent, flow.events = stats.sent + events, events
		return
	end
	stats.socket, self.why = stats.socket + events, why
	if not refused and not self.full[why] then self:renewsoon() end
end

-- Sends what is numbered, once there is a socket.
function Emitter:drain()
	local ring = self.ring
	while self.flow and ring.first <= ring.last do
		local slot = ring[ring.first]
		ring[ring.first] = nil
		ring.first = ring.first + 1
		send(self, self.flow, slot.frame, slot.events)
	end
	if ring.first > ring.last then ring.first, ring.last = 1, 0 end
end

-- Takes a numbered frame, whatever becomes of it.
local function push(self, frame, events)
	local ring = self.ring
	self.lastsent = self.now()
	if ring.last - ring.first + 1 >= self.ringmax then
		self.counts.queue = self.counts.queue + events
		return
	end
	ring.last = ring.last + 1
	ring[ring.last] = { frame = frame, events = events }
	if self.eager then self:drain() end
end

-- Finishes the datagram that is being packed.
local function finish(self)
	local events = self.packer.count
	if events == 0 then return end
	self.beatwait = BEAT_MIN
	push(self, self.packer:finish(), events)
end

-- Has the names that wait follow, in a datagram of their own. While the ring is full
-- they wait on, and are as old again when they are tried again.
local function finishnames(self)
	if #self.packer.names == 0 then return true end
	if self.ring.last - self.ring.first + 1 >= self.ringmax then
		self.namesbegan = self.now()
		return false
	end
	self.beatwait = BEAT_MIN
	push(self, self.packer:finishnames(self.wall()), 0)
	return true
end

local function beat(self) push(self, self.packer:beat(self.wall()), 0) end

-- Begins a source, whose first frames are beats. Its socket may still have to come.
local function begin(self, socket)
	self.flow = socket and { socket = socket, events = 0 }
	self.born, self.tried = self.now(), self.now()
	for _ = 1, BEATS do beat(self) end
	self.beatwait = BEAT_MIN
end

function Emitter:renewsoon()
	local now = self.now()
	if not self.old and not self.closing and now - self.born >= RENEW_WAIT and now - self.tried >= RENEW_WAIT then
		self.wanted = true
	end
end

-- Makes the first socket, where there is none yet.
local function connect(self)
	if self.flow or self.tried > self.now() then return end
	local socket, why = self.dial()
	self.born, self.tried, self.why = self.now(), self.now() + RENEW_WAIT, why
	self.flow = socket and { socket = socket, events = 0 }
end

-- Replaces the socket where that is due. While there cannot be another, the old one
-- stays.
local function renew(self)
	if not self.flow then return connect(self) end
	-- One over which no events went is kept.
	if self.packer.position > 0 and self.now() - self.born >= self.age then self:renewsoon() end
	if not self.wanted then return end
	self.wanted = false
	local socket, why = self.dial()
	self.tried = self.now()
	if not socket then
		self.why = why
		return
	end
	self:drain() -- what came while the name was resolved is the old source's
	self.old = { flow = self.flow, packer = self.packer:numbering(), left = BEATS, due = self.now() }
	self.packer:renew()
	self.counts.renewals, self.why = self.counts.renewals + 1, nil
	begin(self, socket)
end

-- Sends the final beats of the source before, over its own socket.
local function retire(self)
	local old = self.old
	if not old or self.now() < old.due then return end
	send(self, old.flow, old.packer:beat(self.wall()), 0)
	old.left, old.due = old.left - 1, self.now() + BEAT_GAP
	if old.left == 0 then
		old.flow.socket:close()
		self.old = nil
	end
end

-- Sends the final beats of the present source.
local function ending(self)
	local last = self.closing
	if not last or last.left == 0 or self.now() < min(last.due, last.patience) then return end
	beat(self)
	self:drain()
	last.left, last.due = last.left - 1, self.now() + BEAT_GAP
	if last.left == 0 and self.flow then self.flow.socket:close() end
end

-- In a child of a fork: the parent's unfinished datagram and its socket are dropped
-- without a word on it, and a new source begins over a new one.
local function forked(self)
	local pid = self.getpid()
	if pid == self.pid then return end
	self.pid = pid
	if self.closing then return end
	self.packer:clear()
	self.packer:renew()
	self.ring = { first = 1, last = 0 }
	self.said, self.saidbefore, self.saidcount = {}, {}, 0
	for key in pairs(self.counts) do self.counts[key] = 0 end
	self.old, self.wanted, self.why = nil, false, nil
	local socket, why = self.dial()
	begin(self, socket)
	self.why = why
end

-- Takes one event. e has kind, content and user (numbers, uint64_t, or texts of which
-- the id is sent), and perhaps time (Unix milliseconds; now without it), dwell
-- (milliseconds; of an impression or a click the variant) and progress (percent). It never waits. It returns true, or nil and
-- "closed" or why no collector would take the event.
function Emitter:add(e) return self:take(e.kind, e.content, e.user, e.time, e.dwell, e.progress) end

function Emitter:take(kind, content, user, time, dwell, progress)
	forked(self)
	time = time or self.wall()
	local cid, uid = packer.id(content), packer.id(user)
	local fault = not (cid and uid) and "its ids are neither numbers nor texts" or packer.fault(kind, time, dwell, progress)
	if fault then return nil, "event not taken: " .. fault end
	local stats, p = self.counts, self.packer
	stats.added = stats.added + 1
	if self.closing then
		stats.closed = stats.closed + 1
		return nil, "closed"
	end
	if not p:add(kind, cid, uid, time, dwell, progress) then
		finish(self)
		p:add(kind, cid, uid, time, dwell, progress)
	end
	if p.count == 1 then self.began = self.now() end
	return true
end

function Emitter:open(content, user) return self:take("open", content, user) end
function Emitter:read(content, user, dwell) return self:take("read", content, user, nil, dwell) end
function Emitter:finish(content, user, dwell) return self:take("finish", content, user, nil, dwell) end
function Emitter:save(content, user) return self:take("save", content, user) end
function Emitter:share(content, user) return self:take("share", content, user) end

-- Of a content's headline, in a variant of 1 to 255; without one it is 1. User 0 is
-- nobody in particular.
function Emitter:impression(content, user, variant) return self:take("impression", content, user, nil, variant) end
function Emitter:click(content, user, variant) return self:take("click", content, user, nil, variant) end

-- Whether a text was said lately, and is what was said last.
local function wassaid(self, key, text)
	local last = self.said[key] or self.saidbefore[key]
	return last and last.text == text and self.now() - last.at < SAID_FOR
end

-- Has a good text wait for a frame of names, and remembers that it was said.
local function say(self, key, attribute, content, text)
	if self.closing then return nil, "closed" end
	if not self.packer:addname(attribute, content, text) then
		if not finishnames(self) then return nil, "full" end
		self.packer:addname(attribute, content, text)
	end
	local now = self.now()
	if #self.packer.names == 1 then self.namesbegan = now end
	if not self.said[key] then self.saidcount = self.saidcount + 1 end
	self.said[key] = { text = text, at = now }
	if self.saidcount >= SAID_MAX then
		self.said, self.saidbefore, self.saidcount = {}, self.said, 0
	end
	return true
end

-- Says what a content is called: the text of which its id is the hash, so that people
-- read that where the id would stand. Call it with every event of the content, or once:
-- it is sent once an hour. It never waits. It returns true, or nil and "closed", "full"
-- (the next call says it) or why no collector would take the name.
function Emitter:name(text)
	forked(self)
	if wassaid(self, text, text) then return true end
	local good, fault = self.packer:textof(0, text)
	if not good then return nil, "name not taken: " .. fault end
	return say(self, text, 0, packer.id(text), text)
end

-- Says more of a content, a number, uint64_t or text as of an event: about has some of
-- title, section, author (texts), published (Unix milliseconds) and words (how many).
-- Each is sent when it changes, and as often as a name; the last one counts, and ""
-- takes it back. It returns what name does; "full" says that not all were taken.
function Emitter:describe(content, about)
	forked(self)
	local id, texts, known = packer.id(content), {}, {}
	if not id then return nil, "attributes not taken: the content is neither a number nor a text" end
	for attribute, word in ipairs(packer.ATTRIBUTES) do
		known[word] = true
		if about[word] ~= nil then
			local fault
			texts[attribute], fault = self.packer:textof(attribute, about[word])
			if fault then return nil, word .. " not taken: " .. fault end
		end
	end
	for word in pairs(about) do
		if not known[word] then return nil, tostring(word) .. " not taken: there is no such attribute" end
	end
	for attribute = 1, #packer.ATTRIBUTES do
		local text = texts[attribute]
		local key = ("\255%d %s"):format(attribute, tostring(id)) -- which is no name: that is UTF-8
		if text and not wassaid(self, key, text) then
			local ok, why = say(self, key, attribute, id, text)
			if not ok then return nil, why end
		end
	end
	return true
end

-- Has the events sent that wait for others: at once, in nginx with the next step.
function Emitter:flush()
	forked(self)
	finish(self)
	finishnames(self)
end

-- Does what is due. Returns in how many milliseconds it wants to be called again, nil
-- once the emitter is closed.
function Emitter:step()
	forked(self)
	if self:closed() then return nil end
	renew(self)
	retire(self)
	self:drain() -- there is room for what follows
	if self.packer.count > 0 and self.now() - self.began >= self.flushage then finish(self) end
	if #self.packer.names > 0 and self.now() - self.namesbegan >= self.flushage then self:flush() end
	if not self.closing and self.now() - self.lastsent >= self.beatwait then
		beat(self)
		self.beatwait = min(2 * self.beatwait, BEAT_MAX)
	end
	self:drain()
	ending(self)
	if self:closed() then return nil end
	local due = self.closing and math.huge or self.lastsent + self.beatwait
	if self.packer.count > 0 then due = min(due, self.began + self.flushage) end
	if #self.packer.names > 0 then due = min(due, self.namesbegan + self.flushage) end
	if self.wanted then due = self.now() end
	if not self.flow then due = min(due, self.tried) end
	if self.old then due = min(due, self.old.due) end
	if self.closing and self.closing.left > 0 then due = min(due, self.closing.due, self.closing.patience) end
	return due - self.now()
end

-- Begins to close: what waits is sent, then the final beats. step does it, for as long
-- as it does not return nil.
function Emitter:close(patience)
	forked(self)
	if self.closing then return end
	self:flush()
	self.closing = { left = BEATS, due = self.now(), patience = self.now() + (patience or 5000) }
end

function Emitter:closed() return self.closing ~= nil and self.closing.left == 0 and not self.old end

-- What became of the events so far: added = sent + buffered + queue + socket + closed.
function Emitter:stats()
	local s = {}
	for key, n in pairs(self.counts) do s[key] = n end
	s.buffered = self.packer.count
	for i = self.ring.first, self.ring.last do s.buffered = s.buffered + self.ring[i].events end
	return s
end

-- The number under which the collector knows this emitter now, a uint64_t.
function Emitter:source() return self.packer.source end

-- Why nothing can be sent at the moment, or nil.
function Emitter:trouble() return self.why end

local M = { id = require "lectern.id" }

-- An emitter over any sockets: o.dial returns one, or nil and why; with o.lazy step
-- asks for the first one, too. Unless o.eager is false a finished datagram is sent at
-- once, and not with the next step. A socket has send,
-- which returns true, or nil, why, and whether the host said that nobody listens; and
-- close. o.now and o.wall are milliseconds, the second one Unix time.
function M.new(o)
	local function option(name, default, least, most)
		local v = o[name] or default
		if type(v) ~= "number" or v < least or v > most then
			return nil, ("lectern: %s is %s: use %d to %d"):format(name, tostring(v), least, most)
		end
		return v
	end
	local v, why = {}
	for _, range in ipairs {
		{ "stream", nil, 0, 65534 }, { "flush", 250, 0, 2 ^ 31 }, { "datagram", 1400, packer.SIZE_MIN, 65507 },
		{ "age", 300000, RENEW_WAIT, 2 ^ 40 }, { "ring", 256, 1, 65536 },
	} do
		v[range[1]], why = option(unpack(range, 1, 4))
		if why then return nil, why end
	end
	local socket
	if not o.lazy then
		socket, why = o.dial()
		if not socket then return nil, why end
	end
	local getpid = o.getpid or function() return ffi.C.getpid() end
	local self = setmetatable({
		dial = o.dial, now = o.now, wall = o.wall, getpid = getpid, pid = getpid(), full = o.full or {},
		flushage = v.flush, age = v.age, ringmax = v.ring, eager = o.eager ~= false,
		packer = packer.new(v.stream, v.datagram), ring = { first = 1, last = 0 },
		counts = { added = 0, sent = 0, queue = 0, socket = 0, closed = 0, frames = 0, unreachable = 0, renewals = 0 },
		wanted = false, lastsent = o.now(), beatwait = BEAT_MIN,
		said = {}, saidbefore = {}, saidcount = 0, -- what was said last, and when
	}, Emitter)
	begin(self, socket)
	return self
end

-- An emitter for a plain program, over LuaSocket, to o.host and o.port. The program
-- calls step, four times a second or when it says, and run to end it.
function M.udp(o)
	local socket = require "socket"
	local udp = require "lectern.socket"
	local settings = setmetatable({}, { __index = o })
	settings.dial = function() return udp(o.host, o.port) end
	settings.full = { ["timeout"] = true, ["No buffer space available"] = true }
	settings.wall = function() return math.floor(socket.gettime() * 1000) end
	settings.now = settings.wall
	return M.new(settings)
end

-- Closes an emitter of udp and waits for its end, some 40 ms.
function M.close(emitter, patience)
	local socket = require "socket"
	emitter:close(patience)
	local wait = emitter:step()
	while wait do
		socket.sleep(math.max(wait, 0) / 1000)
		wait = emitter:step()
	end
	return emitter:stats()
end

return M
