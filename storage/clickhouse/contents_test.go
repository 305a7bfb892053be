package clickhouse

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
	"github.com/lectern/lectern/wire"
)

// Names of several collectors, in blocks that come twice and in any order, are as a
// plain map has them, before and after merges; and receipts and rows know nothing of
// them.
func TestContentsAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 22))
	server, o := started(t, clickhousetest.Options{})
	type said struct {
		text   string
		sealed bool
		at     int64
	}
	type key struct {
		storage.ContentKey
		attribute wire.Attribute
	}
	all := map[key]said{}
	var blocks []*storage.Block
	for n := range uint64(24) {
		b := &storage.Block{Collector: 1 + n%3, Number: 1 + n/3, Checksum: r.Uint32(), Window: storage.Window{Start: 1000, End: 2000}}
		for stream := uint16(1); stream <= 2; stream++ {
			class := storage.Class(r.IntN(2))
			k := storage.Book{Stream: stream, Class: class, Counts: storage.Counts{storage.Sent: 1, storage.Lost: 1}}
			for content := range uint64(10) {
				for attribute := range wire.Attribute(wire.Attributes) {
					if r.IntN(4) > 0 {
						continue
					}
					at := r.Int64N(1 << 40)
					text := fmt.Sprintf("%d' \\ é", at)
					if attribute >= wire.AttributePublished {
						text = fmt.Sprint(at)
					}
					if attribute < wire.AttributePublished && r.IntN(5) == 0 {
						text = ""
					}
					k.Names = append(k.Names, storage.Name{Content: content, Attribute: attribute, Text: text, At: at})
					id, sealed := key{storage.ContentKey{Stream: stream, Content: content}, attribute}, class == storage.Sealed
					if before, ok := all[id]; !ok || sealed && !before.sealed || sealed == before.sealed && at >= before.at {
						all[id] = said{text, sealed, at}
					}
				}
			}
			b.Books = append(b.Books, k)
		}
		blocks = append(blocks, b)
	}
	r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	for _, b := range blocks {
		o.Collector = b.Collector
		s := opened(t, o)
		stored(t, s, b)
		stored(t, s, b)
	}
	want, wanted := map[storage.ContentKey]string{}, []storage.ContentKey{{Stream: 1, Content: 99}}
	for id := range all {
		text := all[key{id.ContentKey, wire.AttributeName}].text
		if text == "" {
			text = all[key{id.ContentKey, wire.AttributeTitle}].text
		}
		if text != "" {
			want[id.ContentKey] = text
		}
		wanted = append(wanted, id.ContentKey)
	}
	check := func(when string) {
		t.Helper()
		reader, err := OpenReader(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := reader.Called(t.Context(), wanted)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", when, got, err, want)
		}
		if books, err := reader.Names(t.Context(), 1000); err != nil || len(books) != 0 {
			t.Errorf("%s: names of decades ago: %v, %v", when, books, err)
		}
		for _, row := range server.Query("SELECT stream, content, section, author, toUnixTimestamp64Milli(published), words FROM lectern.names") {
			var id storage.ContentKey
			_, _ = fmt.Sscan(row[0], &id.Stream)
			_, _ = fmt.Sscan(row[1], &id.Content)
			for i, attribute := range []wire.Attribute{wire.AttributeSection, wire.AttributeAuthor, wire.AttributePublished, wire.AttributeWords} {
				text := all[key{id, attribute}].text
				if text == "" && attribute >= wire.AttributePublished {
					text = "0"
				}
				if row[2+i] != text {
					t.Errorf("%s: the %s of %v is %q, want %q", when, attribute, id, row[2+i], text)
				}
			}
		}
		if n := server.Query("SELECT sum(copies), count() FROM lectern.receipts")[0]; n[0] != "24" || n[1] != "24" {
			t.Errorf("%s: receipts %v", when, n)
		}
	}
	check("as it came")
	o.Collector = 9
	at := time.Now().UnixMilli()
	fresh := storage.Book{Stream: 3, Class: storage.Sealed, Names: []storage.Name{
		{Content: 7, Text: "/7", At: at},
		{Content: 8, Attribute: wire.AttributeAuthor, Text: "A", At: at - 1000},
		{Content: 8, Attribute: wire.AttributeWords, Text: "5", At: at},
	}}
	stored(t, opened(t, o), &storage.Block{Collector: 9, Number: 1, Window: storage.Window{Start: 1000, End: 2000}, Books: []storage.Book{fresh}})
	reader, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	if books, err := reader.Names(t.Context(), 1000); err != nil || len(books) != 1 || books[0].Account() != fresh.Account() || !slices.Equal(books[0].Names, fresh.Names[:2]) {
		t.Errorf("of today: %+v, %v", books, err)
	}
	if err := server.Exec("ALTER TABLE lectern.contents DELETE WHERE stream = 3 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec("ALTER TABLE lectern.reads DELETE WHERE content = 9 AND stream = 65535 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec("OPTIMIZE TABLE lectern.contents FINAL"); err != nil {
		t.Fatal(err)
	}
	check("merged")
}
