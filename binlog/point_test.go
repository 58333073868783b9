package binlog

import (
	"reflect"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
)

// TestPointText: the text of a point says all of it.
func TestPointText(t *testing.T) {
	for _, pt := range []Point{
		{},
		{Time: 1, File: "log.000001", Offset: 1 << 40, log: logID{server: "b1c2", created: 7}},
		{File: "log.000002", Offset: 4, id: transactionID{source: uuid.New(), tag: mysql.NewTag("night"), number: 12}},
		{File: "log.000002", Offset: 4, id: transactionID{domain: 3, server: 4, number: 12}},
		{File: "log.000003", Offset: 9, prepared: &prepared{XID: "X'6869',X'',1", At: &place{File: "log.000002", Offset: 5, GTID: "0-1-2"}}},
		{File: "log.000003", Offset: 9, decided: "X'6869',X'',1"},
	} {
		got, err := ParsePoint(pt.String())
		if err != nil || !reflect.DeepEqual(got, pt) {
			t.Errorf("%+v became %+v by %s, %v", pt, got, pt, err)
		}
	}
	if pt, err := ParsePoint("{"); err == nil {
		t.Errorf("half a text gave %+v", pt)
	}
}

// TestPointTextHasEveryField: a field that is new in a Point is one of its text.
func TestPointTextHasEveryField(t *testing.T) {
	for _, c := range []struct {
		of   any
		want int
	}{{Point{}, 7}, {logID{}, 2}, {transactionID{}, 5}} {
		if got := reflect.TypeOf(c.of).NumField(); got != c.want {
			t.Errorf("%T has %d fields, and the text of a Point knows %d", c.of, got, c.want)
		}
	}
}
