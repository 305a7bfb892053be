package clickhousetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
)

// TestFaults does each fault to one insert, and looks at what the client is told
// and at what is stored. The insert after it goes well.
func TestFaults(t *testing.T) {
	s := Start(t, Options{})
	s.ours("makes faults")
	for _, test := range []struct {
		fault Fault
		code  int    // of the exception; 0: none
		lost  bool   // the connection breaks
		rows  string // that are stored then
	}{
		{Fault{Kind: CutBefore}, 0, true, "0"},
		{Fault{Kind: CutInside}, 0, true, "0"},
		{Fault{Kind: CutAfter}, 0, true, "0"},
		{Fault{Kind: CutCommitted}, 0, true, "3"},
		{Fault{Kind: Late, Delay: 50 * time.Millisecond}, 0, false, "3"},
		{Fault{Kind: Slow, Delay: 50 * time.Millisecond}, 0, false, "3"},
		{Fault{Kind: Lie}, 0, false, "0"},
		{Fault{Kind: Fail, Code: 60}, 60, false, "0"},
		{Fault{Kind: Fail, Code: 16}, 16, false, "0"},
		{Fault{Kind: Fail, Code: 47}, 47, false, "0"},
		{Fault{Kind: Fail, Code: 53}, 53, false, "0"},
		{Fault{Kind: Fail, Code: 497}, 497, false, "0"},
		{Fault{Kind: Fail, Code: 516}, 516, false, "0"},
		{Fault{Kind: Fail, Code: 252}, 252, false, "0"},
		{Fault{Kind: Fail, Code: 241}, 241, false, "0"},
		{Fault{Kind: Fail, Code: 242}, 242, false, "0"},
		{Fault{Kind: Fail, Code: 159}, 159, false, "0"},
		{Fault{Kind: FailCommitted, Code: 252}, 252, false, "3"},
		{Fault{Kind: FailCommitted, Code: 159, Message: "so slow"}, 159, false, "3"},
	} {
		plain(t, s)
		test.fault.Table, test.fault.Times = "plain", 1
		s.Fault(test.fault)
		client := dial(t, s, nil)
		err := client.Do(bounded(t), numbers("", 1, 2, 3))
		name := string(test.fault.Kind)
		if code(err) != test.code || (err != nil && code(err) == 0) != test.lost {
			t.Errorf("%s %d: %v", name, test.fault.Code, err)
		}
		if !strings.Contains(errorText(err), test.fault.Message) {
			t.Errorf("%s: %v, should say %q", name, err, test.fault.Message)
		}
		if got := stored(s); got != test.rows {
			t.Errorf("%s %d: %s rows, should be %s", name, test.fault.Code, got, test.rows)
		}
		do(t, s, "TRUNCATE TABLE plain")
		if err := dial(t, s, nil).Do(bounded(t), numbers("", 4, 5)); err != nil || stored(s) != "2" {
			t.Errorf("the insert after %s: %v, %s rows", name, err, stored(s))
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestWhichQueries: a fault hits the inserts of its table, as often as it says.
func TestWhichQueries(t *testing.T) {
	s := Start(t, Options{})
	s.ours("makes faults")
	plain(t, s)
	do(t, s, "CREATE TABLE other (n UInt64) ENGINE = MergeTree ORDER BY n")
	result := func(q ch.Query) int {
		t.Helper()
		err := dial(t, s, nil).Do(bounded(t), q)
		if err != nil && code(err) == 0 {
			t.Fatal(err)
		}
		return code(err)
	}
	other := numbers("", 1)
	other.Body = "INSERT INTO default.other (n) VALUES"
	inSelect := ch.Query{Body: "INSERT INTO `other` SELECT 1"}
	check := func(name string, want int, q ch.Query) {
		t.Helper()
		if got := result(q); got != want {
			t.Errorf("%s: code %d, should be %d", name, got, want)
		}
	}
	s.Fault(Fault{Kind: Fail, Code: 241, Table: "other", Times: 2})
	s.Fault(Fault{Kind: Fail, Code: 252, Times: 1})
	check("first fault, other table", 252, numbers("", 1))
	check("no fault left for this table", 0, numbers("", 2))
	check("first fault, with the database", 241, other)
	check("first fault again", 241, inSelect)
	check("none left", 0, other)
	s.Fault(Fault{Kind: Fail, Code: 241, Table: "default.other"})
	for range 3 {
		check("no end of it", 241, other)
	}
	check("a query", 0, ch.Query{Body: "OPTIMIZE TABLE plain"})
	s.Clear()
	check("cleared", 0, other)
	s.Fault(Fault{Kind: Fail, Code: 159, Table: AnyQuery, Times: 1})
	check("any query", 159, ch.Query{Body: "OPTIMIZE TABLE plain"})
	if got, want := s.Inserts(), 9; got != want {
		t.Errorf("%d inserts counted, should be %d", got, want)
	}
}

// TestSilence: no answer comes, whether the rows are stored or not, until the
// client goes or the faults are cleared.
func TestSilence(t *testing.T) {
	s := Start(t, Options{})
	s.ours("makes faults")
	for kind, want := range map[Kind]string{Silent: "0", SilentCommitted: "3"} {
		plain(t, s)
		s.Fault(Fault{Kind: kind, Times: 2})
		ctx, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
		err := dial(t, s, nil).Do(ctx, numbers("", 1, 2, 3))
		stop()
		if err == nil || ctx.Err() == nil {
			t.Errorf("%s: answered with %v", kind, err)
		}
		done := make(chan error, 1)
		client := dial(t, s, nil)
		before := s.Inserts()
		go func() { done <- client.Do(bounded(t), numbers("", 1, 2, 3)) }()
		until(t, func() bool { return s.Inserts() > before })
		s.Clear()
		if err := <-done; kind == Silent && err == nil {
			t.Errorf("%s: answered when cleared", kind)
		}
		if got := stored(s); got != want {
			t.Errorf("%s: %s rows, should be %s", kind, got, want)
		}
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come about in a minute")
		}
	}
}

// TestLater: the rows of an insert whose client was cut off appear later.
func TestLater(t *testing.T) {
	s := Start(t, Options{})
	s.ours("makes faults")
	plain(t, s)
	s.Fault(Fault{Kind: CutLater, Delay: 2 * time.Second, Times: 1})
	err := dial(t, s, nil).Do(bounded(t), numbers("", 1, 2, 3))
	if err == nil || stored(s) != "0" {
		t.Errorf("%v, %s rows, should be an error and none", err, stored(s))
	}
	until(t, func() bool { return stored(s) == "3" })
}

// TestRefuse closes the port, for a while or until it is cleared.
func TestRefuse(t *testing.T) {
	s := Start(t, Options{})
	s.ours("makes faults")
	plain(t, s)
	client := dial(t, s, nil)
	try := func() error {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		fresh, err := ch.Dial(ctx, ch.Options{Address: s.Address()})
		if err == nil {
			_ = fresh.Close()
		}
		return err
	}
	s.Fault(Fault{Kind: Refuse})
	if err := try(); err == nil {
		t.Error("a connection was taken")
	}
	if err := client.Ping(bounded(t)); err == nil {
		t.Error("an old connection was left")
	}
	if got := stored(s); got != "0" {
		t.Error("the test's own queries were refused")
	}
	s.Clear()
	if err := try(); err != nil {
		t.Errorf("cleared: %v", err)
	}
	s.Fault(Fault{Kind: Refuse, Delay: 2 * time.Second})
	if err := try(); err == nil {
		t.Error("a connection was taken")
	}
	until(t, func() bool { return try() == nil })
}
