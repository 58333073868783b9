package harmonic

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDLayout(t *testing.T) {
	// 2026-11-22T17:25:39.789123Z, 123 being 0x07b.
	seq := SeqAt(time.Date(2026, 11, 22, 17, 25, 39, 789_123_999, time.UTC))
	if got, want := seq, Seq(1795368339789123); got != want {
		t.Fatalf("SeqAt = %d, want %d", got, want)
	}
	id := NewID(seq, 0x0123456789abcdef)
	if got, want := id.String(), "01a2044a-c94d-707b-8123-456789abcdef"; got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
	if got, want := seq.Time().Format(time.RFC3339Nano), "2026-11-22T17:25:39.789123Z"; got != want {
		t.Errorf("time = %s, want %s", got, want)
	}
	if got := SeqAt(time.Unix(-5, 0)); got != 0 {
		t.Errorf("before the epoch: %d, want 0", got)
	}
}

func TestIDLimits(t *testing.T) {
	for _, test := range []struct {
		seq  Seq
		gen  Generation
		want string
	}{
		{0, 0, "00000000-0000-7000-8000-000000000000"},
		{MaxSeq, MaxGeneration, "ffffffff-ffff-73e7-bfff-ffffffffffff"},
	} {
		id := NewID(test.seq, test.gen)
		if got := id.String(); got != test.want {
			t.Errorf("NewID(%d, %d) = %s, want %s", test.seq, test.gen, got, test.want)
		}
	}
	mustPanic(t, func() { NewID(MaxSeq+1, 0) })
	mustPanic(t, func() { NewID(0, MaxGeneration+1) })
}

func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}

func FuzzID(f *testing.F) {
	f.Add(uint64(0), uint64(1), uint64(0))
	f.Add(uint64(999), uint64(1000), uint64(MaxGeneration))
	f.Add(uint64(1795368339789999), uint64(1795368339790000), uint64(42))
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-3][0-9a-f]{2}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	f.Fuzz(func(t *testing.T, a, b, g uint64) {
		sa, sb, gen := Seq(a)%(MaxSeq+1), Seq(b)%(MaxSeq+1), Generation(g)&MaxGeneration
		ia, ib := NewID(sa, gen), NewID(sb, gen)
		ta, tb := ia.String(), ib.String()
		if got, want := strings.Compare(ta, tb), cmpSeq(sa, sb); got != want {
			t.Errorf("texts of %d and %d compare %d, want %d", sa, sb, got, want)
		}
		if ia.Seq() != sa || ia.Generation() != gen {
			t.Errorf("NewID(%d, %d) gives back %d, %d", sa, gen, ia.Seq(), ia.Generation())
		}
		if !form.MatchString(ta) {
			t.Errorf("text %s is not of the form", ta)
		}
		if back, err := ParseID(ta); err != nil || back != ia {
			t.Errorf("ParseID(%s) = %v, %v", ta, back, err)
		}
	})
}

func cmpSeq(a, b Seq) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestIDsSortAsText(t *testing.T) {
	gen := NewGeneration()
	random := rand.New(rand.NewPCG(1, 2))
	seqs := make([]Seq, 10_000)
	at := SeqAt(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for i := range seqs {
		at += Seq(random.Uint64N(2500) + 1)
		seqs[i] = at
	}
	texts := make([]string, len(seqs))
	for i, seq := range seqs {
		texts[i] = NewID(seq, gen).String()
	}
	if !slices.IsSorted(texts) || len(slices.Compact(texts)) != len(seqs) {
		t.Error("texts do not rise strictly with seq")
	}
}

func TestParseIDRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"short":           "01a2044a-c94d-707b-8123-456789abcde",
		"long":            "01a2044a-c94d-707b-8123-456789abcdef0",
		"upper case":      "01A2044a-c94d-707b-8123-456789abcdef",
		"no hyphens":      "01a2044ac94d707b8123456789abcdef0123",
		"not hexadecimal": "01a2044a-c94d-707b-8123-456789abcdeg",
		"non-ASCII":       "01a2044a-c94d-707b-8123-456789abcd\u00e9",
		"version 4":       "01a2044a-c94d-407b-8123-456789abcdef",
		"other variant":   "01a2044a-c94d-707b-c123-456789abcdef",
		"rand_a of 1000":  "01a2044a-c94d-73e8-8123-456789abcdef",
	} {
		if id, err := ParseID(text); !errors.Is(err, ErrForeignID) {
			t.Errorf("%s: ParseID(%q) = %v, %v, want ErrForeignID", name, text, id, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("01a2044a-c94d-707b-8123-456789abcdef")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err == nil && id.String() != text {
			t.Errorf("ParseID accepts %q but writes %s", text, id)
		}
	})
}

func TestIDText(t *testing.T) {
	id := NewID(1795368339789123, 7)
	text, err := json.Marshal(map[string]ID{"id": id})
	if got, want := string(text), `{"id":"01a2044a-c94d-707b-8000-000000000007"}`; err != nil || got != want {
		t.Fatalf("marshalled %s, %v, want %s", got, err, want)
	}
	var back map[string]ID
	if err := json.Unmarshal(text, &back); err != nil || back["id"] != id {
		t.Errorf("unmarshalled %v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"id":"nope"}`), &back); !errors.Is(err, ErrForeignID) {
		t.Errorf("error = %v, want ErrForeignID", err)
	}
	appended, err := id.AppendText([]byte("id="))
	if got, want := string(appended), "id="+id.String(); err != nil || got != want {
		t.Errorf("AppendText = %s, %v, want %s", got, err, want)
	}
}

func TestNewGeneration(t *testing.T) {
	seen := map[Generation]bool{}
	for range 1000 {
		gen := NewGeneration()
		if gen > MaxGeneration || seen[gen] {
			t.Fatalf("generation %d is out of range or repeats", gen)
		}
		seen[gen] = true
	}
}

func TestOperation(t *testing.T) {
	for _, test := range []struct {
		op          Operation
		lower, past string
	}{
		{Create, "create", "Created"},
		{Update, "update", "Updated"},
		{Delete, "delete", "Deleted"},
	} {
		if test.op.String() != test.lower || test.op.Past() != test.past {
			t.Errorf("%d: %s, %s", test.op, test.op.String(), test.op.Past())
		}
		if op, err := ParseOperation(test.lower); err != nil || op != test.op {
			t.Errorf("ParseOperation(%s) = %v, %v", test.lower, op, err)
		}
	}
	for _, name := range []string{"", "Create", "invalid", "upsert"} {
		if op, err := ParseOperation(name); err == nil {
			t.Errorf("ParseOperation(%q) = %v, want an error", name, op)
		}
	}
	for _, op := range []Operation{0, 4, 255} {
		if got := op.String(); got != "invalid" {
			t.Errorf("Operation(%d) = %s", uint8(op), got)
		}
	}
}
