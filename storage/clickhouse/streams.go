package clickhouse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Named is where it is asked for what streams are called.
func (s Schema) Named() string { return s.overAll("streams") }

// nameStreams is the statement that says what these streams are called; empty for none.
func (s Schema) nameStreams(names map[uint16]string) string {
	if len(names) == 0 {
		return ""
	}
	var values []string
	for _, stream := range slices.Sorted(maps.Keys(names)) {
		values = append(values, fmt.Sprintf("(%d, %s)", stream, text(names[stream])))
	}
	return "INSERT INTO " + s.Local("streams") + " (stream, name) SELECT * FROM VALUES('stream UInt16, name String', " + strings.Join(values, ", ") + ")"
}

// renamed are the streams that are called otherwise than is stored, or are not there at all.
func (c *connection) renamed(ctx context.Context, o *Options, s Schema) (map[uint16]string, error) {
	names := maps.Clone(s.Streams)
	there, err := c.tables(ctx, o, s, "stream_names")
	if err != nil || there == 0 {
		return names, err
	}
	rows, err := c.texts(ctx, o.AnswerMax, "SELECT toString(stream), name FROM "+s.Name("stream_names"), 2)
	for _, row := range rows {
		for stream, name := range names {
			if row[0] == fmt.Sprint(stream) && row[1] == name {
				delete(names, stream)
			}
		}
	}
	return names, err
}
