-- Sends the events on its standard input: one a line, parted by tabs, of Unix
-- milliseconds, kind, text of the content, text of the reader.
local socket = require "socket"
local lectern = require "lectern"

local way, address, stream = arg[1], arg[2], tonumber(arg[3])
if way ~= "udp" then
	print "NOT RUN: this client has no TCP"
	os.exit(77)
end
local host, port = address:match "^(.*):(%d+)$"
local emitter = assert(lectern.udp { host = host, port = tonumber(port), stream = stream })
local n = 0
for line in io.lines() do
	local time, kind, content, user = line:match "^(%d+)\t(%a+)\t([^\t]*)\t([^\t]*)$"
	assert(emitter:take(kind, content, user, tonumber(time)))
	local about = { title = "Title of " .. content, section = "Log", author = "A. Writer", published = 1767225600000, words = 1200 }
	while not (emitter:name(content) and emitter:describe(content, about)) do emitter:step() end
	n = n + 1
	if n % 200 == 0 then socket.sleep(0.001) end
	emitter:step()
end
local s = lectern.close(emitter)
print(("ok added=%d sent=%d buffered=%d queue=%d socket=%d closed=%d"):format(s.added, s.sent, s.buffered, s.queue, s.socket, s.closed))
