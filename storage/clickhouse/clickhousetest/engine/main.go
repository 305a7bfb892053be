// Command engine is the process behind package clickhousetest.
//
//	engine fetch           brings the ClickHouse engine into the cache
//	engine serve CONFIG    serves, with the config as JSON
//
// Serve writes one line of JSON to its standard output when it is ready. It ends
// when its standard input does, so that it never outlives the test.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/native"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "fetch":
		var path string
		if path, err = chdb.Fetch(); err == nil {
			fmt.Println("ClickHouse engine", chdb.Version, "in", path)
		}
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	default:
		err = fmt.Errorf("usage: engine fetch | engine serve CONFIG")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(text string) error {
	var config native.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	options := native.Options{Address: config.Address, User: config.User, Password: config.Password,
		Staging: filepath.Join(config.Dir, "staging"), Profile: config.Profile}
	if config.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(config.Certificate, config.Key)
		if err != nil {
			return err
		}
		options.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if err := os.RemoveAll(options.Staging); err != nil { // what a killed process left
		return err
	}
	if err := os.MkdirAll(options.Staging, 0o755); err != nil {
		return err
	}
	engine, err := chdb.Open(config.Library, filepath.Join(config.Dir, "data"))
	if err != nil {
		return err
	}
	server, err := native.Serve(engine, options)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready := native.Ready{Address: server.Address(), Control: control.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	return http.Serve(control, native.Control(server))
}
