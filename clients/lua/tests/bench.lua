-- Events a second of CPU time into datagrams, beside a plain statsd client, written as
-- the usual ones for Lua are: LuaRocks, where they come from, is not asked here. It
-- formats a line for each event, and sends a datagram when it is full.
local socket = require "socket"
local lectern = require "lectern"
local packer = require "lectern.packer"

local N = 1000000
local contents, users = {}, {}
for i = 1, N do
	contents[i] = math.random(0, 4095)
	users[i] = math.random(0, 1048575)
end

local function measure(name, job)
	job()
	local best = math.huge
	for _ = 1, 3 do
		local before = os.clock()
		job()
		best = math.min(best, os.clock() - before)
	end
	print(("%s %d"):format(name, N / best))
end

-- Nobody reads what comes here: the kernel throws it away.
local sink = assert(socket.udp4())
assert(sink:setsockname("127.0.0.1", 0))
local _, port = sink:getsockname()

local p = packer.new(1, 1400)
local time = 1767225600000
measure("lectern-packer", function()
	for i = 1, N do
		local content, user = packer.id(contents[i]), packer.id(users[i])
		if not p:add("read", content, user, time + i % 100, 10000, 50) then
			p:finish()
			p:add("read", content, user, time + i % 100, 10000, 50)
		end
	end
end)

local emitter = assert(lectern.udp { host = "127.0.0.1", port = port, stream = 1 })
measure("lectern-add", function()
	for i = 1, N do emitter:take("read", contents[i], users[i], time + i % 100, 10000, 50) end
end)
lectern.close(emitter)

local udp = assert(socket.udp4())
assert(udp:setpeername("127.0.0.1", port))
measure("statsd-count-with-tags", function()
	local buffer, size = {}, 0
	for i = 1, N do
		local line = ("reads.read:1|c|#content:%d,user:%d"):format(contents[i], users[i])
		if size + #line + 1 > 1400 then
			udp:send(table.concat(buffer, "\n"))
			buffer, size = {}, 0
		end
		buffer[#buffer + 1], size = line, size + #line + 1
	end
end)
