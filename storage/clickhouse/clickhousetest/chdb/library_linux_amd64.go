package chdb

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// The functions of libchdb, as in its header chdb.h.
var (
	setSignalHandlers func(enabled bool)
	connect           func(argc int32, argv **byte) unsafe.Pointer // a pointer to a connection
	closeConnection   func(connection unsafe.Pointer)
	query             func(connection unsafe.Pointer, sql *byte, n uintptr, format *byte, m uintptr) unsafe.Pointer
	resultBuffer      func(result unsafe.Pointer) *byte
	resultLength      func(result unsafe.Pointer) uintptr
	resultError       func(result unsafe.Pointer) string
	destroyResult     func(result unsafe.Pointer)
)

// An Engine is ClickHouse on one directory. A process can have one.
type Engine struct {
	dir string
}

// Open loads the library and starts the engine on the directory, which is made
// if need be. The engine ends with the process.
func Open(library, dir string) (*Engine, error) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load the ClickHouse engine: %w", err)
	}
	for name, function := range map[string]any{
		"chdb_set_signal_handlers_enabled": &setSignalHandlers,
		"chdb_connect":                     &connect,
		"chdb_close_conn":                  &closeConnection,
		"chdb_query_n":                     &query,
		"chdb_result_buffer":               &resultBuffer,
		"chdb_result_length":               &resultLength,
		"chdb_result_error":                &resultError,
		"chdb_destroy_query_result":        &destroyResult,
	} {
		if _, err := purego.Dlsym(handle, name); err != nil {
			return nil, fmt.Errorf("the ClickHouse engine %s: %w", library, err)
		}
		purego.RegisterLibFunc(function, handle, name)
	}
	setSignalHandlers(false) // the Go runtime has its own
	e := &Engine{dir: dir}
	_, err = e.Connect() // stays, so that the engine does
	return e, err
}

// Connect opens a session with settings and a current database of its own.
func (e *Engine) Connect() (*Conn, error) {
	argv := []*byte{text("clickhouse"), text("--path=" + e.dir)}
	if config := e.dir + ".xml"; exists(config) {
		argv = append(argv, text("--config-file="+config))
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	for _, arg := range argv {
		pinner.Pin(arg)
	}
	handle := connect(int32(len(argv)), &argv[0])
	if handle == nil {
		return nil, fmt.Errorf("the ClickHouse engine does not open %s", e.dir)
	}
	return &Conn{handle: handle}, nil
}

// A Conn is a session. It runs one statement at a time.
type Conn struct {
	handle unsafe.Pointer
}

// Query runs a statement and returns its rows in a ClickHouse format. An error
// is an *Error, if the engine has one.
func (c *Conn) Query(sql, format string) ([]byte, error) {
	result := query(*(*unsafe.Pointer)(c.handle), text(sql), uintptr(len(sql)), text(format), uintptr(len(format)))
	if result == nil {
		return nil, errors.New("the ClickHouse engine gave no result")
	}
	defer destroyResult(result)
	if message := resultError(result); message != "" {
		return nil, parseError(message)
	}
	n := resultLength(result)
	if n == 0 {
		return nil, nil
	}
	return append([]byte(nil), unsafe.Slice(resultBuffer(result), n)...), nil
}

// Close ends the session.
func (c *Conn) Close() {
	closeConnection(c.handle)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// text is a C string.
func text(s string) *byte {
	return &append([]byte(s), 0)[0]
}
