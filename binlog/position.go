package binlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
)

// Flavor tells the two kinds of server apart; the values are go-mysql's.
type Flavor string

// The flavors.
const (
	MySQL   Flavor = mysql.MySQLFlavor
	MariaDB Flavor = mysql.MariaDBFlavor
)

// Position is a point between two transactions of a binary log: the set of
// transactions seen, where the server has GTIDs, and the file and offset.
// Its text form is what a checkpoint keeps.
type Position struct {
	Flavor Flavor
	// File and Offset are where the last event seen ends.
	File   string
	Offset uint64

	log   logID
	gtids mysql.GTIDSet // nil without GTIDs
	// xa are the transactions that are prepared here, in order.
	xa []prepared
}

// logID tells the file of a Position from others of the same name.
type logID struct {
	server string // its Identity; "" if not known
	// created is when the server began the file, in seconds since the Unix
	// epoch, as its format description says; 0 if not known.
	created uint32
}

// positionText is the text form of a Position.
type positionText struct {
	Flavor Flavor  `json:"flavor"`
	GTIDs  *string `json:"gtids,omitempty"`
	File   string  `json:"file,omitempty"`
	Offset uint64  `json:"offset,omitempty"`
	// Server and Created are the fields of logID.
	Server  string     `json:"server,omitempty"`
	Created uint32     `json:"created,omitempty"`
	XA      []prepared `json:"xa,omitempty"`
}

// ParsePosition reads what Position.String wrote.
func ParsePosition(text string) (Position, error) {
	var t positionText
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return Position{}, fmt.Errorf("parse binlog position %q: %w", text, err)
	}
	p := Position{Flavor: t.Flavor, File: t.File, Offset: t.Offset, log: logID{t.Server, t.Created}, xa: t.XA}
	if t.Flavor != MySQL && t.Flavor != MariaDB {
		return Position{}, fmt.Errorf("parse binlog position %q: unknown flavor", text)
	}
	if t.GTIDs != nil {
		set, err := mysql.ParseGTIDSet(string(t.Flavor), *t.GTIDs)
		if err != nil {
			return Position{}, fmt.Errorf("parse binlog position %q: %w", text, err)
		}
		p.gtids = set
	}
	return p, nil
}

// String is the text form that ParsePosition reads: a JSON object.
func (p Position) String() string {
	t := positionText{Flavor: p.Flavor, File: p.File, Offset: p.Offset, Server: p.log.server, Created: p.log.created, XA: p.xa}
	if p.gtids != nil {
		s := p.gtids.String()
		t.GTIDs = &s
	}
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return string(text)
}

// HasGTIDs says whether the position names transactions, not only bytes.
func (p Position) HasGTIDs() bool { return p.gtids != nil }

// Clone returns a copy that shares nothing with p.
func (p Position) Clone() Position {
	if p.gtids != nil {
		p.gtids = p.gtids.Clone()
	}
	p.xa = slices.Clone(p.xa)
	return p
}

// Covers says whether everything up to o has been seen at p.
func (p Position) Covers(o Position) bool {
	if p.gtids != nil && o.gtids != nil {
		return p.gtids.Contain(o.gtids)
	}
	files := mysql.Position{Name: p.File}.Compare(mysql.Position{Name: o.File})
	return files > 0 || files == 0 && p.Offset >= o.Offset
}

// Point is where an event of the log ends. Time is when its transaction was
// committed first, in microseconds since the Unix epoch; MariaDB logs whole
// seconds only. For that of Handler.Idle see there.
type Point struct {
	Time   uint64
	File   string
	Offset uint64
	log    logID
	id     transactionID
	// prepared is the XA transaction that was prepared here, decided the XID
	// of one that has been committed or rolled back.
	prepared *prepared
	decided  string
}

// At returns Time as a time.Time in UTC.
func (pt Point) At() time.Time { return time.UnixMicro(int64(pt.Time)).UTC() }

// GTID is that of the transaction which ends there; empty if it has none.
func (pt Point) GTID() string { return pt.id.String() }

// pointText is the text form of a Point.
type pointText struct {
	Time   uint64 `json:"time,omitzero"`
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	// Server and Created are the fields of logID.
	Server  string `json:"server,omitzero"`
	Created uint32 `json:"created,omitzero"`
	// Source, Tag, Number, Domain and By are those of transactionID.
	Source   uuid.UUID `json:"source,omitzero"`
	Tag      string    `json:"tag,omitzero"`
	Number   uint64    `json:"number,omitzero"`
	Domain   uint32    `json:"domain,omitzero"`
	By       uint32    `json:"by,omitzero"`
	Prepared *prepared `json:"prepared,omitzero"`
	Decided  string    `json:"decided,omitzero"`
}

// ParsePoint reads what Point.String wrote.
func ParsePoint(text string) (Point, error) {
	var t pointText
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return Point{}, fmt.Errorf("parse binlog point %q: %w", text, err)
	}
	return Point{
		Time: t.Time, File: t.File, Offset: t.Offset, log: logID{t.Server, t.Created},
		id:       transactionID{source: t.Source, tag: mysql.NewTag(t.Tag), number: t.Number, domain: t.Domain, server: t.By},
		prepared: t.Prepared, decided: t.Decided,
	}, nil
}

// String is the text form that ParsePoint reads: a JSON object.
func (pt Point) String() string {
	text, err := json.Marshal(pointText{
		Time: pt.Time, File: pt.File, Offset: pt.Offset, Server: pt.log.server, Created: pt.log.created,
		Source: pt.id.source, Tag: pt.id.tag.String(), Number: pt.id.number, Domain: pt.id.domain, By: pt.id.server,
		Prepared: pt.prepared, Decided: pt.decided,
	})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return string(text)
}

func (pt Point) preparedXID() string {
	if pt.prepared == nil {
		return ""
	}
	return pt.prepared.XID
}

// transactionID is a GTID of either flavor; the zero value is none.
type transactionID struct {
	source uuid.UUID // MySQL
	tag    mysql.Tag
	number uint64
	domain uint32 // MariaDB
	server uint32
}

func (id transactionID) String() string {
	switch {
	case id.number == 0:
		return ""
	case id.source != uuid.Nil:
		if tag := id.tag.String(); tag != "" {
			return fmt.Sprintf("%s:%s:%d", id.source, tag, id.number)
		}
		return fmt.Sprintf("%s:%d", id.source, id.number)
	default:
		return fmt.Sprintf("%d-%d-%d", id.domain, id.server, id.number)
	}
}

// Advance moves p to pt, the end of the next transaction.
func (p *Position) Advance(pt Point) error {
	p.File, p.Offset, p.log = pt.File, pt.Offset, pt.log
	for _, xid := range []string{pt.decided, pt.preparedXID()} {
		if i := p.prepared(xid); i >= 0 {
			p.xa = slices.Delete(p.xa, i, i+1)
		}
	}
	if pt.prepared != nil {
		p.xa = append(p.xa, *pt.prepared)
	}
	if p.gtids == nil || pt.id.number == 0 {
		return nil
	}
	switch set := p.gtids.(type) {
	case *mysql.MysqlGTIDSet:
		set.AddGTIDWithTag(pt.id.source, pt.id.tag, int64(pt.id.number))
	case *mysql.MariadbGTIDSet:
		id := mysql.MariadbGTID{
			DomainID: pt.id.domain, ServerID: pt.id.server, SequenceNumber: pt.id.number,
		}
		if err := set.AddSet(&id); err != nil {
			return fmt.Errorf("advance to %s: %w", pt.id, err)
		}
	}
	return nil
}
