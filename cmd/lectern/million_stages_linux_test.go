package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// stage is a part of the way of an event.
type stage struct {
	name  string
	parts []string // of names of functions
}

const (
	stageRest   = "the rest"
	stageWakeup = "wake-ups"
	stageNow    = "now"
	stageMemory = "garbage"
)

// millionStages say to which stage a function belongs; of several, the first.
var millionStages = []stage{
	{stageNow, []string{"storage/live.", "internal/now.", "storage.(*Minutes).turn", "storage.(*Minutes).leave", "storage.(*minuteTable).sights"}},
	{"sort", []string{"storage.sortSlots", "storage.radixSort", "storage.(*minuteTable).sort", "storage.mergeRows"}},
	{"add", []string{"storage.(*Minutes).Add", "storage.(*minuteTable).add", "storage.(*minuteTable).grow", "pipeline.(*Gatherer).add"}},
	{"encode", []string{"parquet.encode", "parquet-go", "zstd", "lz4", "compress."}},
	{"log", []string{"spool.(*Spool).Seal", "spool.(*Spool).Retry", "wal.(*Log)", "codec.(*RowGroups)", "pipeline.(*Gatherer).Seal"}},
	{"blocks", []string{"spool.(*Spool).Flush", "spool.(*Spool).Compact", "segment.(*Writer)", "segment.Compact", "storage.(*Minutes).", "pipeline.(*Gatherer).flush"}},
	{"ship", []string{"pipeline.(*Gatherer).ship", "pipeline.(*Gatherer).stored", "segment.(*Segment).Load", "storage/parquet.", "storage/clickhouse.", "ch-go"}},
	{"cut", []string{"collector.(*cutter)", "collector.(*table).appendRows", "collector.(*table).shrink"}},
	{"count", []string{"collector.(*table).", "wire.", "collector.(*shard).datagram", "collector.(*shard).frame", "collector.(*shard).admit", "collector.(*shard).count", "collector.(*shard).flush"}},
	{"receive", []string{"collector.(*shard).", "collector.(*connection)", "gnet/v2.(*eventloop)", "gnet/v2.(*engine)"}},
	{stageMemory, []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"}},
	{stageWakeup, []string{"netpoll.(*Poller).Polling", "unix.EpollWait", "runtime.schedule", "runtime.findRunnable", "runtime.mcall", "runtime.park_m", "runtime.sysmon", "runtime.mstart", "runtime.futex"}},
}

// stageOf is the stage of a sample: that of the innermost function that belongs to
// one. stack has the innermost first.
func stageOf(stack []string) string {
	for _, function := range stack {
		for _, s := range millionStages {
			if slices.ContainsFunc(s.parts, func(part string) bool { return strings.Contains(function, part) }) {
				return s.name
			}
		}
	}
	return stageRest
}

// stages prints where the CPU time of each daemon of this tree went.
func (b *million) stages() {
	fmt.Printf("\nCPU by stage, nanoseconds an event: samples of the profile by the innermost function that belongs to a stage\n\n%-44s", "load")
	names := []string{"receive", "count", "cut", "log", "add", "sort", "blocks", "encode", "ship", stageNow, stageMemory, stageRest, stageWakeup}
	for _, name := range names {
		fmt.Printf("%9s", name)
	}
	fmt.Println()
	for _, r := range b.results {
		if r.profile == "" {
			continue
		}
		out, err := exec.Command("go", "tool", "pprof", "-traces", "-unit=us", r.profile).Output()
		if err != nil {
			b.Fatalf("go tool pprof: %v", err)
		}
		if path := os.Getenv("LECTERN_BENCH_TRACES"); path != "" {
			_ = os.WriteFile(path+"-"+strings.NewReplacer(" ", "-", "/", "-").Replace(r.name), out, 0o600)
		}
		sums, all := addTraces(string(out))
		fmt.Printf("%-44s", r.name)
		for _, name := range names {
			fmt.Printf("%9.1f", r.an(float64(r.cpu)*float64(sums[name])/float64(max(1, all))))
		}
		fmt.Println()
	}
}

// addTraces adds up what `go tool pprof -traces -unit=us` prints, by stage.
func addTraces(text string) (sums map[string]uint64, all uint64) {
	sums = make(map[string]uint64)
	for _, trace := range strings.Split(text, "-----------+")[1:] {
		var stack []string
		var value uint64
		for line := range strings.Lines(trace) {
			value1, function, found := strings.Cut(strings.TrimSpace(line), " ")
			n, err := strconv.ParseFloat(strings.TrimSuffix(value1, "us"), 64)
			switch {
			case strings.HasPrefix(value1, "-") || value1 == "":
			case found && err == nil && strings.HasSuffix(value1, "us"):
				value = uint64(n)
				stack = append(stack, strings.TrimSpace(function))
			case len(stack) > 0:
				stack = append(stack, strings.TrimSpace(line))
			}
		}
		if len(stack) > 0 {
			sums[stageOf(stack)] += value
			all += value
		}
	}
	return sums, all
}

func TestTracesAreAddedUpByStage(t *testing.T) {
	const text = `File: lectern
Type: cpu
-----------+-------------------------------------------------------
     10000us   runtime.memmove
             github.com/lectern/lectern/storage/spool.(*Spool).Seal
             github.com/lectern/lectern/pipeline.(*Gatherer).Seal
-----------+-------------------------------------------------------
     30000us   github.com/lectern/lectern/storage.(*minuteTable).find (inline)
             github.com/lectern/lectern/storage.(*minuteTable).addSome
             github.com/lectern/lectern/storage.(*Minutes).Add
             github.com/lectern/lectern/pipeline.(*Gatherer).Seal
-----------+-------------------------------------------------------
     20000us   main.main
-----------+-------------------------------------------------------
`
	sums, all := addTraces(text)
	if sums["log"] != 10_000 || sums["add"] != 30_000 || sums[stageRest] != 20_000 || all != 60_000 {
		t.Errorf("%v of %d", sums, all)
	}
}
