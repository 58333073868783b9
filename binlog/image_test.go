package binlog

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzRowBytes: whatever the bytes hold, a row or an error comes of them, and
// a row gives the same bytes again, and so does its copy.
func FuzzRowBytes(f *testing.F) {
	table := wideTable()
	nulls := bytes.Repeat([]byte{0xff}, 3)
	f.Add([]byte{})
	f.Add(append([]byte{logImage}, nulls...))
	f.Add(append([]byte{logImage}, make([]byte, 200)...))
	f.Add(append([]byte{logImage, 0xff, 0xff, 0xfe, 2, 0, 0, 0, 'a', 'b'}, "rest"...))
	f.Add(append([]byte{textImage}, make([]byte, 30)...))
	f.Add(append([]byte{textImage, 3, 'a', 'b', 1}, make([]byte, 30)...))
	f.Add(append([]byte{textImage}, bytes.Repeat([]byte{0xff}, 30)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		row := new(Row)
		rest, err := row.SetBytes(table, data)
		if err != nil {
			return
		}
		again := row.AppendBytes([]byte("before"))
		other, copied := new(Row), row.Clone()
		if _, err := other.SetBytes(table, again[len("before"):]); err != nil {
			t.Fatal(err)
		}
		clear(data[:len(data)-len(rest)])
		wantSame(t, other, copied)
		if got := copied.AppendBytes([]byte("before")); !bytes.Equal(got, again) {
			t.Errorf("the copy gave %x, the row %x", got, again)
		}
	})
}

func wantSame(t *testing.T, a, b *Row) {
	t.Helper()
	if a.Table != b.Table || a.text != b.text {
		t.Errorf("%v, %v became %v, %v", a.Table, a.text, b.Table, b.text)
	}
	for i := range a.Table.Columns {
		if !a.Same(b, i) {
			t.Errorf("column %d: %x became %x", i, a.values[i], b.values[i])
		}
	}
}

func TestRowBytes(t *testing.T) {
	table := &Table{Name: TableName{"app", "t"}, Columns: []Column{
		{Name: "id", Kind: Integer, fixed: 4}, {Name: "v", Kind: Text, prefix: 1, Charset: "utf8mb4"}, {Name: "w", Kind: Text, prefix: 2, Charset: "utf8mb4"},
	}}
	logged := new(Row)
	if _, err := logged.scan(table, []byte{0b100, 1, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []*Row{logged, TextRow(table, [][]byte{[]byte("1"), {}, nil}), TextRow(table, make([][]byte, 3))} {
		data := row.AppendBytes(nil)
		for cut := range data {
			if _, err := new(Row).SetBytes(table, data[:cut]); err == nil {
				t.Errorf("%x is no row", data[:cut])
			}
		}
		used := new(Row) // has columns of another row
		if _, err := used.scan(table, []byte{0, 9, 9, 9, 9, 1, 'x', 1, 0, 'y'}); err != nil {
			t.Fatal(err)
		}
		rest, err := used.SetBytes(table, append(slices.Clone(data), "rest"...))
		if err != nil || string(rest) != "rest" {
			t.Errorf("got %q, %v", rest, err)
		}
		wantSame(t, row, used)
		change := Change{Kind: Delete, Time: 7, Before: row}
		copied := change.Clone()
		wantSame(t, row, copied.Before)
		if copied.Kind != Delete || copied.Time != 7 || copied.After != nil {
			t.Errorf("%+v became %+v", change, copied)
		}
	}
}
