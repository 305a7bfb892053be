package collector

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// address is where frames come from. The zero value is nobody knows where.
type address struct {
	network uint64 // IPv4, or the network half of IPv6: who pays for new sources; 0: nobody knows
	host    uint64 // the other half of IPv6
	socket  uint32 // of datagrams with the port: tells one socket from another; 0: nobody knows
	port    uint16 // for people
}

// String is the address as people write it, with the port; "" where nobody knows.
func (a address) String() string {
	if a == (address{}) {
		return ""
	}
	ip := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(a.network))))
	if a.network>>32 != ipv4 {
		network := a.network
		if network == loopback6 && a.host == 1 {
			network = 0
		}
		ip = netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, network), a.host)))
	}
	return netip.AddrPortFrom(ip, a.port).String()
}

// ipv4 is what stands in the upper half of network for IPv4, and loopback6 is network
// for ::1, which is somebody.
const (
	ipv4      = 0xFFFF
	loopback6 = 1
)

// addressOf is that of an IP address of 4 or 16 bytes, and a port. Of an IPv6
// address a network of 64 bits counts as one: whoever has one of them has all.
func addressOf(ip []byte, port uint16) address {
	if len(ip) == net.IPv6len && binary.BigEndian.Uint64(ip) == 0 && binary.BigEndian.Uint32(ip[8:]) == 0xFFFF {
		ip = ip[12:] // IPv4, on a socket for both
	}
	var network, host uint64
	switch len(ip) {
	case net.IPv4len:
		network = ipv4<<32 | uint64(binary.BigEndian.Uint32(ip))
	case net.IPv6len:
		network, host = binary.BigEndian.Uint64(ip), binary.BigEndian.Uint64(ip[8:])
	default:
		return address{}
	}
	if network == 0 {
		network = loopback6
	}
	x := (network ^ host*0x9E3779B97F4A7C15 ^ uint64(port)<<40) * 0xD6E8FEB86659FD93
	return address{network, host, uint32(x>>32) | 1, port}
}

// addressAt is that of an address of Go's. Over TCP nobody can send from another's
// address, so the port, which each connection has anew, says nothing.
func addressAt(at net.Addr) address {
	switch a := at.(type) {
	case *net.UDPAddr:
		return addressOf(short(a.IP), uint16(a.Port))
	case *net.TCPAddr:
		from := addressOf(short(a.IP), 0)
		from.port = uint16(a.Port)
		return from
	}
	return address{}
}

func short(ip net.IP) []byte {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip
}
