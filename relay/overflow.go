package relay

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// overflow keeps arrivals that an inbox has no room for, in order, in a file
// unless they are few: of each its changes as they were logged, and after them
// what else it is.
type overflow struct {
	file *spoolQueue
	// transactions is how many of the arrivals are some.
	transactions int
	// versions and definitions are what entries name by numbers. There is one
	// for each statement that defines a table at the most.
	versions    []*tableVersion
	numbers     map[*binlog.Table]int
	definitions []*binlog.Definition
	// What take uses.
	before, after binlog.Row
}

// What an entry of the file is; that is its first byte.
const (
	keptChange     = 'c' // its kind, the number of its table's version, its rows
	keptDefinition = 'd' // its number
	keptArrival    = 'a' // arrivalText
)

// arrivalText is what the file has of an arrival beside its changes.
type arrivalText struct {
	Kind    arrivalKind `json:"kind,omitzero"`
	Point   string      `json:"point"`
	Decides bool        `json:"decides,omitzero"`
	Time    uint64      `json:"time,omitzero"`
	Read    time.Time   `json:"read,omitzero"`
	// Definition is its number plus one; 0 for none.
	Definition int `json:"definition,omitzero"`
}

func newOverflow(dir string) *overflow {
	return &overflow{file: newSpoolQueue(dir), numbers: map[*binlog.Table]int{}}
}

// empty says whether every arrival was taken out.
func (o *overflow) empty() bool { return o.size() == 0 }

// size is how many bytes the arrivals take that are there.
func (o *overflow) size() int64 { return o.file.size() }

// put keeps an arrival, which can be given up then. An error is one of the disk.
func (o *overflow) put(a *arrival) error {
	if a.changes != nil {
		if err := a.changes.logged(o.putEntry); err != nil {
			return err
		}
	}
	text := arrivalText{Kind: a.kind, Point: a.point.String(), Decides: a.decides, Time: a.time, Read: a.read}
	if a.definition != nil {
		o.definitions = append(o.definitions, a.definition)
		text.Definition = len(o.definitions)
	}
	data, err := json.Marshal(text)
	if err != nil {
		return err
	}
	if a.kind == committed {
		o.transactions++
	}
	return o.file.add(func(dst []byte) []byte { return append(append(dst, keptArrival), data...) })
}

func (o *overflow) putEntry(e *entry) error {
	return o.file.add(func(dst []byte) []byte {
		if e.definition != nil {
			o.definitions = append(o.definitions, e.definition)
			return binary.AppendUvarint(append(dst, keptDefinition), uint64(len(o.definitions)-1))
		}
		number, known := o.numbers[e.version.table]
		if !known {
			number = len(o.versions)
			o.numbers[e.version.table] = number
			version := *e.version
			o.versions = append(o.versions, &version)
		}
		dst = binary.AppendUvarint(append(dst, keptChange, byte(e.kind)), uint64(number))
		return append(dst, e.rows...)
	})
}

// entry is a change that is kept.
func (o *overflow) entry(data []byte) entry {
	number, n := binary.Uvarint(data[2:])
	v := o.versions[number]
	return entry{version: v, table: v.table, kind: binlog.ChangeKind(data[1]), rows: data[2+n:]}
}

// take takes the first arrival out, of which there has to be one. If it has
// changes, they are put into a transaction that is made for them.
func (o *overflow) take(newTransaction func() *transaction) (*arrival, error) {
	a := &arrival{}
	changes := func() *transaction {
		if a.changes == nil {
			a.changes = newTransaction()
		}
		return a.changes
	}
	for {
		data, next, err := o.file.first()
		if err != nil {
			return a, err
		}
		o.file.from = next
		switch data[0] {
		case keptChange:
			e := o.entry(data)
			c, err := e.change(&o.before, &o.after)
			if err != nil {
				return a, err
			}
			t := changes()
			t.knows(e.version)
			if err := t.change(c); err != nil {
				return a, err
			}
		case keptDefinition:
			number, _ := binary.Uvarint(data[1:])
			changes().define(o.definitions[number])
		case keptArrival:
			if err := o.finish(a, data[1:]); err != nil {
				return a, fmt.Errorf("take up what was read of the log: %w", err)
			}
			return a, nil
		}
	}
}

// finish makes an arrival whole.
func (o *overflow) finish(a *arrival, data []byte) error {
	var text arrivalText
	err := json.Unmarshal(data, &text)
	if err != nil {
		return err
	}
	if a.point, err = binlog.ParsePoint(text.Point); err != nil {
		return err
	}
	a.kind, a.decides, a.time, a.read = text.Kind, text.Decides, text.Time, text.Read
	if text.Definition > 0 {
		a.definition = o.definitions[text.Definition-1]
	}
	if a.kind == committed {
		o.transactions--
	}
	if o.empty() {
		if err := o.reset(); err != nil {
			return err
		}
	}
	if a.changes == nil {
		return nil
	}
	a.changes.time = a.time
	return a.changes.seal()
}

// reset forgets everything, and gives the file back.
func (o *overflow) reset() error {
	o.transactions = 0
	o.before, o.after = binlog.Row{}, binlog.Row{}
	o.versions, o.definitions = nil, nil
	clear(o.numbers)
	return o.file.reset()
}

// snapshot is what is there now, to be walked over while more is put. It is of
// no use after an arrival was taken out. An error is one of the disk.
func (o *overflow) snapshot() (*overflow, error) {
	if o.empty() {
		return newOverflow(""), nil
	}
	file, err := o.file.snapshot()
	return &overflow{file: file, versions: o.versions}, err
}

// walk gives the changes as they were logged, in order.
func (o *overflow) walk(fn func(*entry) error) error {
	for at := o.file.from; at < o.file.end(); {
		data, next, err := o.file.reader.entry(at)
		if err != nil {
			return err
		}
		if at = next; data[0] != keptChange {
			continue
		}
		e := o.entry(data)
		if err := fn(&e); err != nil {
			return err
		}
	}
	return nil
}
