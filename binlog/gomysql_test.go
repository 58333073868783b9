package binlog_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/chorusd/chorusd/binlog"
)

// rowsOfGoMySQL reads so many rows of the table from the log with go-mysql's
// own decoder, by their first column.
func rowsOfGoMySQL(t *testing.T, cfg binlog.Config, from binlog.Position, table binlog.TableName, n int) map[string][]any {
	t.Helper()
	host, portText, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]any{}
	ended := make(chan struct{})
	done := errors.New("all were read")
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 1000 + serverIDs.Add(1), Flavor: string(from.Flavor), Host: host, Port: uint16(port), User: cfg.User, Logger: slog.New(slog.DiscardHandler),
		TimestampStringLocation: time.UTC, RenderJSONAsMySQLText: true, DisableRetrySync: true,
		SynchronousEventHandler: handlerFunc(func(e *replication.BinlogEvent) error {
			if r, ok := e.Event.(*replication.RowsEvent); ok && string(r.Table.Schema) == table.Schema && string(r.Table.Table) == table.Table {
				for _, row := range r.Rows {
					rows[fmt.Sprint(row[0])] = slices.Clone(row)
				}
				if len(rows) == n {
					close(ended)
					return done
				}
			}
			return nil
		}),
	})
	defer syncer.Close()
	if _, err := syncer.StartSync(mysql.Position{Name: from.File, Pos: uint32(from.Offset)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatalf("go-mysql gave %d of %d rows", len(rows), n)
	}
	return rows
}

type handlerFunc func(*replication.BinlogEvent) error

func (f handlerFunc) HandleEvent(e *replication.BinlogEvent) error { return f(e) }

// goMySQLForm is the JSON that go-mysql's value of a column stands for; ok is
// false where it is known to be another, or not to say enough:
//   - unsigned integers look negative;
//   - DOUBLE(M,D) has more digits than its text;
//   - zero fractions of a TIME are missing;
//   - text is in the column's character set;
//   - UUID, INET4, INET6 and VECTOR are bytes, and GEOMETRY is, too;
//   - COMPRESSED columns end the stream;
//   - doubles and escapes inside JSON are spelled in another way.
//
// SET and BIT come as signed numbers of 64 bits, BINARY without its last zeros.
func goMySQLForm(c *binlog.Column, v any, loc *time.Location) (form string, ok bool) {
	if v == nil {
		return "null", true
	}
	quoted := func(s string) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(s) // to memory, of a string
		return strings.TrimSpace(b.String())
	}
	sqlType := strings.ToLower(c.SQLType)
	switch c.Kind {
	case binlog.Integer:
		return fmt.Sprint(v), !c.Unsigned
	case binlog.Bit:
		return strconv.FormatUint(uint64(v.(int64)), 10), true
	case binlog.Year:
		return fmt.Sprint(v), true
	case binlog.Decimal:
		return quoted(fmt.Sprint(v)), true
	case binlog.Float, binlog.Double:
		f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
		return fmt.Sprint(f), err == nil && !strings.Contains(sqlType, "(")
	case binlog.Date:
		return quoted(fmt.Sprint(v)), true
	case binlog.DateTime, binlog.Timestamp:
		if c.Kind == binlog.DateTime && loc != time.UTC {
			return "", false
		}
		at, err := time.Parse("2006-01-02 15:04:05.999999", fmt.Sprint(v))
		if err != nil { // such as a zero date
			return "null", true
		}
		return at.Format(`"2006-01-02T15:04:05.000000Z"`), true
	case binlog.Time:
		return quoted(fmt.Sprint(v)), strings.Contains(fmt.Sprint(v), ".")
	case binlog.Text:
		return quoted(textOf(v)), strings.HasPrefix(c.Charset, "utf8")
	case binlog.Binary:
		data := []byte(textOf(v))
		var size int
		if n, _ := fmt.Sscanf(sqlType, "binary(%d)", &size); n == 1 || strings.HasPrefix(sqlType, "char") {
			data = append(data, make([]byte, max(0, size-len(data)))...)
		}
		return quoted(base64.StdEncoding.EncodeToString(data)), true
	case binlog.Enum:
		n := v.(int64)
		if n == 0 {
			return `""`, true
		}
		return quoted(c.Members[n-1]), true
	case binlog.Set:
		var list []string
		for i, m := range c.Members {
			if uint64(v.(int64))>>i&1 == 1 {
				list = append(list, m)
			}
		}
		return quoted(strings.Join(list, ",")), true
	case binlog.JSON:
		var b bytes.Buffer
		err := json.Compact(&b, []byte(textOf(v)))
		return b.String(), err == nil
	}
	return "", false
}

func textOf(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// sameForm compares go-mysql's value with ours.
func sameForm(c *binlog.Column, theirs, ours string) bool {
	if c.Kind == binlog.Float || c.Kind == binlog.Double {
		bits := 64
		if c.Kind == binlog.Float {
			bits = 32
		}
		a, err := strconv.ParseFloat(theirs, bits)
		b, err2 := strconv.ParseFloat(ours, bits)
		return err == nil && err2 == nil && a == b
	}
	if c.Kind == binlog.JSON {
		return reflect.DeepEqual(document(theirs), document(ours))
	}
	return theirs == ours
}

// document parses JSON, in which go-mysql spells doubles and escapes in other
// ways; integers keep all digits.
func document(text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".e") {
				return f
			}
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = walk(v[k])
			}
		}
		return v
	}
	return walk(value)
}
