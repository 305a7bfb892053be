-- Datagram sockets of LuaSocket, as lectern.new wants them.
local socket = require "socket"

return function(host, port)
	local udp = assert(socket.udp4())
	local ok, why = udp:setpeername(host, port)
	if not ok then
		udp:close()
		return nil, "lectern: cannot reach " .. host .. ": " .. tostring(why)
	end
	udp:settimeout(0)
	return {
		send = function(_, datagram)
			local sent, e = udp:send(datagram)
			if sent then return true end
			return nil, e, e == "connection refused" or e == "refused"
		end,
		close = function() udp:close() end,
	}
end
