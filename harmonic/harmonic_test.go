package harmonic

import (
	"strings"
	"testing"
	"time"
)

var benchmarkRow = Harmonic{
	ID:        NewID(1795368339789123, 0x0123456789abcdef),
	Table:     "todos",
	RecordID:  []byte(`"01a2044a-c617-7000-8000-000000000001"`),
	Operation: Create,
	Data: []byte(`{"id":"01a2044a-c617-7000-8000-000000000001","user_id":1,"title":"café ☕ \"q\"",` +
		`"done":false,"price":"9.50","meta":{"a":1},"completed_at":null,"updated_at":"2026-11-22T17:25:39.000000Z"}`),
	CreatedAt: time.Date(2026, 11, 22, 17, 25, 39, 0, time.UTC),
}

func TestAppendJSONIsExact(t *testing.T) {
	got := string(AppendJSON([]byte("before "), &benchmarkRow))
	want := `before {"id":"01a2044a-c94d-707b-8123-456789abcdef","table_name":"todos",` +
		`"record_id":"01a2044a-c617-7000-8000-000000000001","operation":"create",` +
		`"data":"{\"id\":\"01a2044a-c617-7000-8000-000000000001\",\"user_id\":1,\"title\":\"café ☕ \\\"q\\\"\",` +
		`\"done\":false,\"price\":\"9.50\",\"meta\":{\"a\":1},\"completed_at\":null,\"updated_at\":\"2026-11-22T17:25:39.000000Z\"}",` +
		`"user_id":null,"created_at":"2026-11-22 17:25:39"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCreatedAtIsUTC(t *testing.T) {
	h := benchmarkRow
	h.CreatedAt = time.Date(2026, 11, 23, 1, 25, 39, 999, time.FixedZone("", 8*3600))
	if got := string(AppendJSON(nil, &h)); !strings.Contains(got, `"created_at":"2026-11-22 17:25:39"`) {
		t.Errorf("created_at is not UTC in %s", got)
	}
}

func TestAppendingDoesNotAllocate(t *testing.T) {
	rejected := benchmarkRow
	rejected.Rejected, rejected.RejectedReason = true, "Permission denied"
	rejected.CreatedAt = rejected.CreatedAt.In(time.FixedZone("", 3600))
	dst := make([]byte, 0, 4096)
	for name, f := range map[string]func(){
		"AppendJSON":           func() { dst = AppendJSON(dst[:0], &benchmarkRow) },
		"AppendJSON, rejected": func() { dst = AppendJSON(dst[:0], &rejected) },
		"AppendModelJSON":      func() { dst = AppendModelJSON(dst[:0], &benchmarkRow) },
		"AppendString":         func() { dst = AppendString(dst[:0], "é\u2028\n\xff") },
		"ID.AppendText":        func() { dst, _ = benchmarkRow.ID.AppendText(dst[:0]) },
	} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	dst := make([]byte, 0, 4096)
	b.SetBytes(int64(len(AppendJSON(nil, &benchmarkRow))))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendJSON(dst[:0], &benchmarkRow)
	}
}
