package policy

import (
	"encoding/hex"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// docs/POLICIES.md has an example that the app's half is tested against.
func TestExampleOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/POLICIES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "## To test against")
	value := func(name string) string {
		t.Helper()
		m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| ` + "`([^`]+)`" + ` \|$`).FindStringSubmatch(example)
		if m == nil {
			t.Fatalf("the example has no line %q", name)
		}
		return m[1]
	}
	_, bodies, _ := strings.Cut(example, "```\n")
	lines := strings.Split(bodies, "\n")
	request, answer := []byte(lines[0]), []byte(lines[1])

	secret, nonce := value("secret"), value("`Chorusd-Nonce`")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, value("address"), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	now, err := time.Parse(time.RFC3339, "2026-03-29T08:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, got string }{
		{"`Chorusd-Key`", KeyID(secret)},
		{"SHA-256 of the request's body", digest(request)},
		{"SHA-256 of the answer's body", digest(answer)},
		{"`Chorusd-Signature` of the request", signatureOf(req, request, secret, value("`Chorusd-Timestamp`"), nonce)},
		{"`Chorusd-Signature` of the answer", hex.EncodeToString(mac(secret, labelAnswer, nonce, digest(answer)))},
	} {
		if want := value(tt.name); tt.got != want {
			t.Errorf("%s is %s, the documentation says %s", tt.name, tt.got, want)
		}
	}
	if !signed(value("`Chorusd-Signature` of the answer"), answer, secret, nonce) {
		t.Error("the answer does not count as signed")
	}
	r, err := readReply(answer, 2)
	if err != nil || len(r.Answers) != 2 || r.Message == "" {
		t.Errorf("the answer is read as %+v, %v", r, err)
	}
	signRequest(req, request, secret, now)
	if got := req.Header.Get(headerTimestamp); got != value("`Chorusd-Timestamp`") {
		t.Errorf("the timestamp is %s", got)
	}
}
