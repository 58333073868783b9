package pusher

import (
	"cmp"
	"math"
	"strconv"
)

// Packing says how events share requests. An event with n channels is n items
// of a batch, each with its data.
type Packing struct {
	Items  int // of one batch, at most
	Bytes  int // that its items may take together: ItemBytes and the channel's name of each
	Spread int // up to how many channels of one event are better sent as items of a batch
}

// spreadBytes is up to how many bytes of data, repeated for each channel, that
// holds: see DESIGN.md.
const spreadBytes = 4 << 10

// Shares says whether an event is better sent in a batch with others than by
// itself.
func (p Packing) Shares(e Event) bool {
	n := len(e.Channels)
	return n == 1 || n <= p.Spread && n*len(e.Data) <= spreadBytes
}

// itemsOfOurs bounds batches for servers without a limit of their own: one that
// takes long holds up what comes after it.
const itemsOfOurs = 100

// Packing returns how to have few requests that the server takes.
func (c *Client) Packing() Packing {
	p := Packing{Items: cmp.Or(c.limits.Batch, itemsOfOurs), Bytes: math.MaxInt}
	p.Spread = max(1, min(c.dialect.Spread, p.Items-1)) // what fills a batch is an event as well
	if most := c.limits.RequestBytes; most > 0 {
		body := most - c.batches.head - len(strconv.Itoa(most)) // as if its length had as many digits
		for c.batches.size(body+1) <= most {
			body++
		}
		p.Bytes = body - len(emptyBatch) + len(",")
	}
	return p
}
