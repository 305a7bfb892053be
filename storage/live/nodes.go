package live

import "github.com/lectern/lectern/storage/pages"

// node is what is wanted of a reader when he comes or goes.
type node struct {
	user        uint64 // of a reader of a stream
	what        uint32 // a content, or with ofWhole set a stream
	whole       uint32 // of a reader of a content: his node of the stream; or the next one that is free
	minute, all uint32 // of a reader of a stream: contents that he was with in the last minute, and in five
}

// The flags of node.what.
const (
	ofWhole   = 1 << 31 // a reader of a stream
	nameless  = 1 << 30 // a reader of contents for which there was no room: the rest is the stream
	free      = 1 << 29 // nobody
	within    = 1 << 28 // a reader of a content who had an event in the last minute, as his slot says, too
	whatIndex = within - 1
)

func (n *node) is(flag uint32) bool { return n.what&flag != 0 }

func (n *node) index() uint32 { return n.what & whatIndex }

// nodes stay where they are, so that others can name them by their places: those of a
// reader and of his content's lie together, nearly always. Memory for all of them is
// mapped at once; what was never touched of it takes none.
type nodes struct {
	list  []node // 0 is nobody
	top   uint32 // no node from here on was ever used
	freed uint32 // the first of those that are free, before top
	most  int

	memory *pages.Memory[node]
}

// clear forgets all.
func (n *nodes) clear() {
	if n.memory != nil {
		n.memory.Free()
	}
	n.memory = pages.Make[node](n.most + 1)
	n.list, n.top, n.freed = n.memory.Slice, 1, 0
}

// add adds a node. There is room.
func (n *nodes) add(x node) uint32 {
	id := n.freed
	if id != 0 {
		n.freed = n.list[id].whole
	} else {
		id = n.top
		n.top++
	}
	n.list[id] = x
	return id
}

// remove frees a node.
func (n *nodes) remove(id uint32) {
	n.list[id] = node{what: free, whole: n.freed}
	n.freed = id
}

// compact moves the nodes together, and gives back the memory behind them.
func (r *Readers) compact() {
	old, list, top := r.nodes.memory, r.nodes.list, r.nodes.top
	moved := pages.Make[uint32](int(top))
	r.nodes.memory = nil
	r.nodes.clear()
	for id := range top {
		if !list[id].is(free) && id > 0 {
			moved.Slice[id] = r.nodes.add(list[id])
		}
	}
	for id := uint32(1); id < r.nodes.top; id++ {
		r.nodes.list[id].whole = moved.Slice[r.nodes.list[id].whole]
	}
	for i := range r.table.slots {
		if s := &r.table.slots[i]; s.print != 0 {
			s.node = s.node&^nodeIndex | moved.Slice[s.node&nodeIndex]
		}
	}
	moved.Free()
	old.Free()
}
