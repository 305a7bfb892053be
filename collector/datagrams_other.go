//go:build !linux

package collector

import "syscall"

// receiver holds a duplicate of the UDP socket. Elsewhere than on Linux gnet's
// own way of one datagram a wake-up serves.
type receiver struct{ socket int }

// batchesMax is not used where there are no batches.
const batchesMax = 0

func (r *receiver) open(socket, receiveBuffer int) (granted int, err error) {
	r.socket = socket
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer); err != nil {
		return 0, err
	}
	return syscall.GetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_RCVBUF)
}

func (r *receiver) dropped() uint64 { return 0 }

func (r *receiver) close() {
	if r.socket >= 0 {
		_ = syscall.Close(r.socket)
		r.socket = -1
	}
}

// drain leaves the rest to gnet's next wake-up.
func (s *shard) drain(int, int) (dry bool) { return true }
