package harmonic

import "fmt"

// Operation is what happened to the record, as the client is to see it. The
// zero value is none.
type Operation uint8

// The operations. To a client Create and Update are both "put this row".
const (
	Create Operation = iota + 1
	Update
	Delete
)

var operations = [...]struct{ lower, past string }{
	{"invalid", "Invalid"},
	{"create", "Created"},
	{"update", "Updated"},
	{"delete", "Deleted"},
}

// ParseOperation reads what String wrote.
func ParseOperation(s string) (Operation, error) {
	for op := Create; op <= Delete; op++ {
		if operations[op].lower == s {
			return op, nil
		}
	}
	return 0, fmt.Errorf("operation %q is none of create, update, delete", s)
}

func (op Operation) names() (lower, past string) {
	if int(op) >= len(operations) {
		op = 0
	}
	n := operations[op]
	return n.lower, n.past
}

// String is the operation's name on the wire: "create", "update", "delete".
func (op Operation) String() string { lower, _ := op.names(); return lower }

// Past is the name of Eloquent's model event with a capital: "Created".
func (op Operation) Past() string { _, past := op.names(); return past }
