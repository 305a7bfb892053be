//go:build !(linux && amd64)

package chdb

import "errors"

var errNone = errors.New("there is no ClickHouse engine for this system")

// An Engine is ClickHouse on one directory; here there is none.
type Engine struct{}

// Open says that there is none here.
func Open(library, dir string) (*Engine, error) { return nil, errNone }

// Connect says that there is none here.
func (e *Engine) Connect() (*Conn, error) { return nil, errNone }

// A Conn is a session; here there is none.
type Conn struct{}

// Query says that there is none here.
func (c *Conn) Query(sql, format string) ([]byte, error) { return nil, errNone }

// Close does nothing here.
func (c *Conn) Close() {}
