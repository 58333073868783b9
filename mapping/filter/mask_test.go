package filter_test

import (
	"testing"

	"github.com/chorusd/chorusd/mapping/filter"
)

func TestMasks(t *testing.T) {
	for _, c := range []struct {
		mask string
		of   filter.Value
		want string
	}{
		{"email", filter.OfText("jane@example.com"), `"j***@example.com"`},
		{"email", filter.OfText("é.x@example.com"), `"é***@example.com"`},
		{"email", filter.OfText(`"a@b"@example.com`), `"\"***@example.com"`},
		{"email", filter.OfText("@example.com"), `"***@example.com"`},
		{"email", filter.OfText("no address"), `"***"`},
		{"email", filter.OfText(""), `"***"`},
		{"email", filter.Value{}, `null`},
		{"name", filter.OfText("Jane van Doe"), `"J. v. D."`},
		{"name", filter.OfText("  Élodie\tß "), `"É. ß."`},
		{"name", filter.OfText(""), `""`},
		{"name", filter.Value{}, `null`},
		{"fixed:hidden: yes", filter.OfText("x"), `"hidden: yes"`},
		{"fixed:", filter.OfInt(5), `""`},
		{"fixed:x", filter.Value{}, `null`},
		{"truncate:3", filter.OfText("größer"), `"grö"`},
		{"truncate:3", filter.OfText("gr"), `"gr"`},
		{"truncate:2", filter.OfText("\xff\xfe\xfd"), `"` + "\ufffd\ufffd" + `"`},
		{"truncate:2", filter.OfInt(-123), `"-1"`},
		{"truncate:2", filter.Value{}, `null`},
		// echo -n jane@example.com | openssl dgst -sha256 -hmac key
		{"hash", filter.OfText("jane@example.com"), `"43c915a5fb2a55c3ccab3ef8b4ceec305b515df308878ece0d42526f5e24484a"`},
		{"hash", filter.Value{}, `null`},
	} {
		m, err := filter.ParseMask(c.mask, "key")
		if err != nil {
			t.Errorf("%s: %v", c.mask, err)
			continue
		}
		if got := string(m.Apply(c.of).AppendJSON(nil)); got != c.want {
			t.Errorf("%s of %s is %s, want %s", c.mask, c.of.AppendJSON(nil), got, c.want)
		}
	}
}

func TestMasksRefused(t *testing.T) {
	for mask, want := range map[string]string{
		"":            `mask "" is not known: use email, name, fixed:TEXT, truncate:N or hash`,
		"emails":      `mask "emails" is not known: use email, name, fixed:TEXT, truncate:N or hash`,
		"fixed":       `mask "fixed" is not known: use email, name, fixed:TEXT, truncate:N or hash`,
		"truncate":    `mask "truncate" is not known: use email, name, fixed:TEXT, truncate:N or hash`,
		"truncate:0":  `mask "truncate:0": write how many characters to keep, as truncate:4`,
		"truncate:x":  `mask "truncate:x": write how many characters to keep, as truncate:4`,
		"email:x":     `mask "email:x" is not known: use email, name, fixed:TEXT, truncate:N or hash`,
		"hash":        `mask "hash" needs a secret: set secret in [masks]`,
		"hash:sha512": `mask "hash:sha512" is not known: use email, name, fixed:TEXT, truncate:N or hash`,
	} {
		if _, err := filter.ParseMask(mask, ""); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", mask, err, want)
		}
	}
}
