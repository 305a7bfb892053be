package edge

// Reason says why what came to a door was not taken. It is a closed list: each
// word stands in the metrics and in the documentation.
type Reason uint8

// The reasons.
const (
	Taken       Reason = iota // it was taken
	TooLarge                  // more than a body may have
	Malformed                 // not what the door understands
	OutOfRange                // a number or a text that no event can have
	NoStream                  // of a stream that this edge does not have
	Origin                    // from a page that may not send for the stream
	Budget                    // the network of the sender has sent too much
	Bot                       // a program that reads for nobody
	Preview                   // fetched or rendered ahead, before anybody reads
	DataCenter                // from a network of machines
	Full                      // the queue on disk has no room, since the collector is away
	Broken                    // the edge cannot write to its disk
	NotRead                   // a line that stands for no reading: not a GET, not answered well, not one of the paths
	Token                     // a push of logs that does not show a token
	Connections               // one connection more than may be open
	Unfinished                // a request that broke off, or took too long to come
	reasons
)

var reasonWords = [reasons]string{
	"taken", "too_large", "malformed", "out_of_range", "no_stream", "origin", "budget", "bot", "preview", "data_center", "full", "broken", "not_read", "token", "connections", "unfinished",
}

// String returns the reason's word.
func (r Reason) String() string { return reasonWords[r] }
