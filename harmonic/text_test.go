package harmonic

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendString(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", `""`},
		{"plain", "todo", `"todo"`},
		{"quote and backslash", `say "hi" \o/`, `"say \"hi\" \\o/"`},
		{"short escapes", "\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"other controls", "\x00\x01\x1f\x7f", `"\u0000\u0001\u001f` + "\x7f" + `"`},
		{"markup stays", "<b>&'/", `"<b>&'/"`},
		{"UTF-8 stays", "café ☕ 𝄞", `"café ☕ 𝄞"`},
		{"line separators", "a\u2028b\u2029", `"a\u2028b\u2029"`},
		{"their neighbours", "\u2027\u202a", "\"\u2027\u202a\""},
		{"a real U+FFFD", "\uFFFD", "\"\uFFFD\""},
		{"invalid byte", "a\xffb", "\"a\uFFFDb\""},
		{"truncated", "a\xe2\x82", "\"a\uFFFD\uFFFD\""},
		{"surrogate half", "\xed\xa0\x80", "\"\uFFFD\uFFFD\uFFFD\""},
		{"after multi-byte", "é\n\xff\"", "\"é\\n\uFFFD\\\"\""},
	} {
		if got := string(AppendString(nil, test.in)); got != test.want {
			t.Errorf("%s: AppendString(%q) = %s, want %s", test.name, test.in, got, test.want)
		}
		if got, want := string(AppendString([]byte("x"), []byte(test.in))), "x"+test.want; got != want {
			t.Errorf("%s: AppendString of bytes = %s, want %s", test.name, got, want)
		}
	}
}

// What encoding/json reads back must be the string, with every byte that is
// not UTF-8 replaced.
func FuzzAppendString(f *testing.F) {
	f.Add("café \"☕\" \\ \x00\u2028\xff")
	f.Fuzz(func(t *testing.T, s string) {
		text := AppendString(nil, s)
		if !utf8.Valid(text) {
			t.Fatalf("%q is not UTF-8", text)
		}
		var got string
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if want := string([]rune(s)); got != want {
			t.Errorf("%q reads back as %q, want %q", s, got, want)
		}
	})
}

func BenchmarkAppendString(b *testing.B) {
	for _, bench := range []struct{ name, s string }{
		{"row", string(benchmarkRow.Data)},
		{"plain", strings.Repeat("a long text without quotes, ", 40)},
		{"unicode", strings.Repeat("多言語のテキスト", 40)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dst := make([]byte, 0, 8192)
			b.SetBytes(int64(len(bench.s)))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendString(dst[:0], bench.s)
			}
		})
	}
}
