package binlog

import "testing"

// TestNatural: the same integer in a row from the log and in one from a SELECT.
func TestNatural(t *testing.T) {
	for _, c := range []struct {
		unsigned  bool
		raw, text string
		want      uint64
		ok        bool
	}{
		{true, "\x07\x00\x00\x00", "7", 7, true},
		{true, "\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615", 1<<64 - 1, true},
		{true, "\x07\x00", "00007", 7, true}, // ZEROFILL
		{false, "\x7f", "127", 127, true},
		{false, "\xff", "-1", 0, false},
		{false, "\x00\x00\x80", "-8388608", 0, false},
	} {
		table := &Table{Columns: []Column{{Kind: Integer, Unsigned: c.unsigned, fixed: len(c.raw)}}}
		logged := Row{Table: table, values: [][]byte{[]byte(c.raw)}}
		for _, row := range []*Row{&logged, TextRow(table, [][]byte{[]byte(c.text)})} {
			if got, ok := row.Natural(0); ok != c.ok || got != c.want && ok {
				t.Errorf("Natural of %q or %s: %d, %v, want %d, %v", c.raw, c.text, got, ok, c.want, c.ok)
			}
		}
	}
	table := &Table{Columns: []Column{{Kind: Integer}, {Kind: Text}}}
	row := TextRow(table, [][]byte{nil, []byte("7")})
	for column := range table.Columns {
		if _, ok := row.Natural(column); ok {
			t.Errorf("column %d is natural: it is NULL or text", column)
		}
	}
}
