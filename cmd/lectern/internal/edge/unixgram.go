package edge

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// unixgram is a Unix datagram socket with a name.
type unixgram struct {
	*net.UnixConn
	path string
	made fs.FileInfo
}

// listenUnixgram makes a socket. One that a former process left is replaced, and one
// on which another listens is not. Who may reach it is for the rights of its directory
// to say.
func listenUnixgram(path string) (*unixgram, error) {
	name := &net.UnixAddr{Name: path, Net: "unixgram"}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if c, err := net.DialUnix("unixgram", nil, name); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another process listens on %s already", path)
		}
		_ = os.Remove(path) // else listening says why not
	}
	conn, err := net.ListenUnixgram("unixgram", name)
	if err != nil {
		return nil, err
	}
	u := &unixgram{UnixConn: conn, path: path}
	if u.made, err = os.Lstat(path); err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// Close closes the socket and removes its name, unless it is another's by now.
func (u *unixgram) Close() error {
	if info, err := os.Lstat(u.path); err == nil && u.made != nil && os.SameFile(info, u.made) {
		_ = os.Remove(u.path)
	}
	return u.UnixConn.Close()
}
