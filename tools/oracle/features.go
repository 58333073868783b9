package oracle

// Features are the parts of the mapping that worlds use.
type Features struct {
	Again     bool // rows that one transaction writes several times
	Scopes    bool // membership scopes
	Public    bool // rows for everybody
	AllOf     bool // inner lists of visible_to
	Paths     bool // scope keys through parents
	Morphs    bool // polymorphic parents
	Where     bool // filters over the row
	Users     bool // attributes of users, in filters and elsewhere
	Columns   bool // fields for some only
	Masks     bool // masked fields
	Computed  bool // renamed, constant and computed fields
	Deadlines bool // filters that the clock decides
	Tenants   bool // a database for each of several tenants
	Prefixes  bool // users' channels that are named by an attribute
	// Moves are changes of those attributes, and of who has any.
	Moves bool
	// Large worlds have more people, scopes and rows.
	Large bool
	// Messages tell of scopes that are lost (channels.revocations = "message").
	Messages bool
	// Statements are TRUNCATE and ALTER.
	Statements bool
	// Outages are those of Redis.
	Outages bool
	// Exact deletes name no row that was never its receiver's: one is a fault.
	Exact bool
	// Interruptions are kills while refills are under way.
	Interruptions bool
}

// Pace is how often something happens beside a transaction, as probabilities.
type Pace struct {
	Comes, Goes float64 // of people
	Pauses      float64 // in which all is compared
	Kills       float64 // of chorusd
	Outages     float64 // of Redis
	Statements  float64
}

// Brisk is the pace for some hundreds of transactions: much happens, and most
// of the time goes by with pauses and restarts.
var Brisk = Pace{Comes: 0.06, Goes: 0.04, Pauses: 0.02, Kills: 0.006, Outages: 0.004, Statements: 0.01}

// Steady is the pace for a million: messages are judged at each transaction as
// ever, and the time goes by with transactions.
var Steady = Pace{Comes: 0.06, Goes: 0.04, Pauses: 0.004, Kills: 0.0008, Outages: 0.0004, Statements: 0.002}

// Supported is what worlds are made of by default: all but Exact, since whoever
// comes back is told, by their keys, of records in his scopes that have changed
// meanwhile and that he does not see.
func Supported() Features {
	return Features{
		Again: true, Scopes: true, Public: true, AllOf: true, Paths: true, Morphs: true, Where: true, Users: true, Columns: true, Masks: true, Computed: true,
		Deadlines: true, Tenants: true, Prefixes: true, Moves: true, Messages: true, Statements: true, Outages: true, Interruptions: true,
	}
}

// scale is how many times as many rows and people there are as in small worlds.
func (f Features) scale() int {
	if f.Large {
		return 3
	}
	return 1
}
