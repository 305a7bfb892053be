package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// errCut ends a connection that a fault has cut.
var errCut = errors.New("cut by a fault")

// query reads a query and answers it. An error ends the connection.
func (c *conn) query() error {
	var q proto.Query
	if err := q.DecodeAware(c.reader, c.version); err != nil {
		return err
	}
	for { // external tables, and the block that ends them
		code, err := c.packet()
		if err != nil {
			return err
		}
		if code != proto.ClientCodeData {
			return fmt.Errorf("a packet of type %d in place of external tables", code)
		}
		b, err := c.data(q.Compression)
		if err != nil {
			return err
		}
		if len(b.columns) == 0 {
			break
		}
	}
	sql := trim(q.Body)
	s := parse(sql)
	c.cleared = c.server.clearing()
	fault := c.server.faults.take(s.table)
	if s.table != "" {
		c.server.inserts.Add(1)
	}
	err := c.run(&q, sql, s, fault)
	var exception *chdb.Error
	if errors.As(err, &exception) {
		c.exception(err)
		return c.flush()
	}
	return err
}

// run answers a query. An *chdb.Error is for the client to know.
func (c *conn) run(q *proto.Query, sql string, s statement, fault Fault) error {
	if fault.Kind == CutBefore || fault.Kind == CutInside && !s.data {
		return c.cutNow()
	}
	if fault.Kind == Fail && (atHeader[fault.Code] || !s.data) {
		return planned(fault)
	}
	if !c.server.running.enter(q.ID) {
		return &chdb.Error{Code: sameID, Name: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
			Message: "Query with id = " + q.ID + " is already running."}
	}
	leave := func() { c.server.running.leave(q.ID) }
	engine, err := c.session.open(q.Settings, q.Parameters)
	if err != nil {
		leave()
		return err
	}
	done := func() { engine.Close(); leave() }
	var result []block
	execute := func() error {
		result, err = answer(engine, sql, s)
		return err
	}
	if s.data {
		if execute, err = c.receive(q, s, fault, engine); err != nil {
			done()
			return err
		}
	}
	if fault.Kind == CutLater {
		c.server.later(fault.Delay, func() { defer done(); _ = execute() })
		return c.cutNow()
	}
	defer done()
	if err := c.execute(execute, fault); err != nil {
		return err
	}
	if s.session {
		c.session.before = append(c.session.before, sql)
	}
	return c.end(q, s, result)
}

// receive reads the blocks of an insert, and returns what stores them.
func (c *conn) receive(q *proto.Query, s statement, fault Fault, engine *chdb.Conn) (func() error, error) {
	all, err := describe(engine, s.target)
	if err != nil {
		return nil, err
	}
	into, err := all.insertable(s)
	if err != nil {
		return nil, err
	}
	if proto.FeatureColumnDefaultsMetadata.In(c.version) {
		proto.TableColumns{Second: tableColumns(all)}.EncodeAware(&c.out, c.version)
	}
	ask := into.block()
	if err := c.send(&ask, q.Compression); err != nil {
		return nil, err
	}
	if err := c.flush(); err != nil {
		return nil, err
	}
	blocks, err := c.blocks(q, fault)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.server.options.Staging, strconv.FormatUint(c.server.files.Add(1), 10)+".native")
	return func() error { return insert(engine, s, into, blocks, file) }, nil
}

// blocks reads blocks until the one that ends them.
func (c *conn) blocks(q *proto.Query, fault Fault) ([]block, error) {
	var blocks []block
	for {
		code, err := c.packet()
		if err != nil {
			return nil, err
		}
		if code == proto.ClientCodeCancel {
			return nil, errors.New("cancelled by the client")
		}
		if code != proto.ClientCodeData {
			return nil, fmt.Errorf("a packet of type %d in place of data", code)
		}
		if fault.Kind == CutInside {
			_, _ = io.CopyN(io.Discard, c.reader, 16)
			return nil, c.cutNow()
		}
		b, err := c.data(q.Compression)
		if err != nil {
			return nil, err
		}
		if len(b.columns) == 0 {
			return blocks, nil
		}
		if b.rows > 0 {
			blocks = append(blocks, b)
		}
	}
}

// execute does what is asked for, or what a fault makes of it.
func (c *conn) execute(execute func() error, fault Fault) error {
	switch fault.Kind {
	case CutAfter:
		return c.cutNow()
	case Fail:
		return planned(fault)
	case Silent:
		return c.silent()
	case Lie:
		return nil
	case Slow:
		c.wait(fault.Delay)
	}
	if err := execute(); err != nil {
		return err
	}
	switch fault.Kind {
	case CutCommitted:
		return c.cutNow()
	case SilentCommitted:
		return c.silent()
	case FailCommitted:
		return planned(fault)
	case Late:
		c.wait(fault.Delay)
	}
	return nil
}

// end sends the rows, and that it is all.
func (c *conn) end(q *proto.Query, s statement, result []block) error {
	var rows, bytes uint64
	if len(result) > 0 {
		if err := c.send(result[0].header(), q.Compression); err != nil {
			return err
		}
	}
	for i := range result {
		if result[i].rows == 0 {
			continue
		}
		if err := c.send(&result[i], q.Compression); err != nil {
			return err
		}
		rows += uint64(result[i].rows)
		for _, column := range result[i].columns {
			bytes += uint64(len(column.values))
		}
	}
	if s.rows {
		proto.Profile{Rows: rows, Blocks: uint64(len(result)), Bytes: bytes}.EncodeAware(&c.out, c.version)
		proto.ServerCodeProgress.Encode(&c.out)
		proto.Progress{Rows: rows, Bytes: bytes}.EncodeAware(&c.out, c.version)
		if err := c.send(&block{}, q.Compression); err != nil {
			return err
		}
	}
	proto.ServerCodeEndOfStream.Encode(&c.out)
	return c.flush()
}

func (c *conn) cutNow() error {
	c.cut()
	return errCut
}

// silent waits until the client has gone, or the faults are cleared.
func (c *conn) silent() error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, c.reader)
	}()
	select {
	case <-gone:
	case <-c.cleared.Done():
	}
	return c.cutNow()
}

// wait lets time go by, unless the faults are cleared.
func (c *conn) wait(d time.Duration) {
	ctx, stop := context.WithTimeout(c.cleared, d)
	defer stop()
	<-ctx.Done()
}
