package pusher

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Auto in place of a kind of server has Detect find out.
const Auto = "auto"

// Limits are what a server takes in one request; 0 is no limit.
type Limits struct {
	Channels     int // channels of an event published by itself
	Batch        int // events of a batch, each to one channel
	DataBytes    int // the data of one event
	RequestBytes int // the whole HTTP request, headers included
}

func (l Limits) String() string {
	parts := []string{fmt.Sprintf("%d channels per event", l.Channels)}
	if l.Channels == 1 {
		parts[0] = "1 channel per event"
	}
	add := func(most int, form string) {
		if most > 0 {
			parts = append(parts, fmt.Sprintf(form, most))
		}
	}
	add(l.Batch, "%d events per batch")
	add(l.DataBytes, "%d bytes of data per event")
	add(l.RequestBytes, "%d bytes per request")
	return strings.Join(parts, ", ")
}

// libraryChannels is what pusher-http-go allows for an event, whatever the server does.
const libraryChannels = 100

// Dialect is what a kind of server has of its own, as its default
// configuration sets it. DESIGN.md tells where each value comes from.
type Dialect struct {
	Name   string // as Config.Server has it
	Title  string // as people have it
	Limits Limits
	// Setting is the server's own that raises the limit of sizes; "" if there
	// is none.
	Setting string
	// Webhooks says that the server tells of channels that open and close.
	Webhooks bool
	// ReadsFirst says that the server reads a request whole, or refuses it for
	// its size, before it looks at what is in it: see TryLargest.
	ReadsFirst bool
	// NodesWait is for how long one of several nodes waits for the others when it
	// is asked for channels, before it answers with what it has; 0: not known.
	NodesWait time.Duration
	// RateSetting is the server's own that raises how many requests it takes.
	RateSetting string
	// Spread is up to how many channels of one event are cheaper as so many
	// items of a batch, if there are others to share it with.
	Spread int

	// marks are how it answers to what Detect asks, with the status that it
	// says; no marks: it cannot be told from others by that.
	marks *marks
}

// marks are the answers to Detect's requests, as JSON, and what there has to
// be in a header of them.
type marks struct {
	list          string // which channels are there with a prefix that none has
	channel       string // what is one channel like that nobody listens to
	channelStatus int
	cacheControl  string
}

// dialects are those known.
var dialects = map[string]Dialect{
	"reverb": {
		Name: "reverb", Title: "Laravel Reverb",
		Limits:  Limits{Channels: libraryChannels, RequestBytes: 10_000},
		Setting: "max_request_size in config/reverb.php", ReadsFirst: true,
		NodesWait: 10 * time.Second,
		// An empty map is a list to PHP, and the header is Symfony's.
		marks: &marks{list: `{"channels":[]}`, channel: `{"occupied":false}`, channelStatus: 200, cacheControl: "no-cache, private"},
	},
	"soketi": {
		Name: "soketi", Title: "Soketi",
		Limits:  Limits{Channels: 100, Batch: 10, DataBytes: 100 * 1024},
		Setting: "eventLimits.maxPayloadInKb", Webhooks: true, RateSetting: "the app's maxBackendEventsPerSecond and maxReadRequestsPerSecond",
		Spread:    9,
		NodesWait: 5 * time.Second, // adapter.*.requestsTimeout
		// It counts subscriptions without being asked to.
		marks: &marks{list: `{"channels":{}}`, channel: `{"subscription_count":0,"occupied":false}`, channelStatus: 200},
	},
	"sockudo": {
		Name: "sockudo", Title: "Sockudo",
		Limits:  Limits{Channels: 100, Batch: 10, DataBytes: 100 * 1024},
		Setting: "event_limits.max_payload_in_kb", Webhooks: true, RateSetting: "rate_limiter.api_rate_limit",
		marks: &marks{
			list: `{"channels":{}}`, channel: `{"error":"user_count is only available for presence channels"}`, channelStatus: 400,
		},
	},
	"pusher": {
		Name: "pusher", Title: "hosted Pusher",
		Limits:   Limits{Channels: 100, Batch: 10, DataBytes: 10 * 1024},
		Webhooks: true,
	},
}

// Servers returns the kinds of server that Config.Server can name, sorted.
func Servers() []string { return slices.Sorted(maps.Keys(dialects)) }

// fit says whether a server's answers are these.
func (m *marks) fit(a answers) bool {
	return a.list.status == 200 && sameJSON(a.list.body, m.list) &&
		a.channel.status == m.channelStatus && sameJSON(a.channel.body, m.channel) &&
		strings.Contains(a.list.cacheControl, m.cacheControl)
}

// sameJSON compares values, whatever the order of an object's fields.
func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
