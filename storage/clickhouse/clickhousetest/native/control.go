package native

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// Config is what the process behind a server is started with.
type Config struct {
	Library          string // of the engine
	Dir              string // the engine's data, and blocks on their way
	Address          string // of the native protocol
	User, Password   string
	Certificate, Key string // PEM files; empty: no TLS
	Profile          string // settings that each query begins with, as SET takes them
}

// Ready is what that process says when it serves.
type Ready struct {
	Address string // of the native protocol
	Control string // of the handler that Control makes
}

// The paths of the control handler. Each takes a POST.
const (
	QueryPath   = "/query"   // SQL in, TSV out; 400 and the error's text
	FaultPath   = "/fault"   // a Fault in, as JSON
	ClearPath   = "/clear"   // nothing in or out
	InsertsPath = "/inserts" // a number out
)

// Control handles what a test asks of a server beside the native protocol.
func Control(s *Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+QueryPath, func(w http.ResponseWriter, r *http.Request) {
		sql, err := io.ReadAll(r.Body)
		if err == nil {
			sql, err = s.Query(string(sql))
		}
		reply(w, sql, err)
	})
	mux.HandleFunc("POST "+FaultPath, func(w http.ResponseWriter, r *http.Request) {
		var fault Fault
		err := json.NewDecoder(r.Body).Decode(&fault)
		if err == nil {
			s.Fault(fault)
		}
		reply(w, nil, err)
	})
	mux.HandleFunc("POST "+ClearPath, func(w http.ResponseWriter, r *http.Request) {
		s.Clear()
	})
	mux.HandleFunc("POST "+InsertsPath, func(w http.ResponseWriter, r *http.Request) {
		reply(w, strconv.AppendInt(nil, int64(s.Inserts()), 10), nil)
	})
	return mux
}

func reply(w http.ResponseWriter, body []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(body)
}
