package transport_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/tools/services/servicestest"
	"github.com/chorusd/chorusd/transport"
)

// server answers "ok" over TLS to everybody that it accepts.
func server(t *testing.T, cfg *tls.Config) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "ok")
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// greet connects and reads the answer.
func greet(t *testing.T, c transport.TLS) error {
	t.Helper()
	cfg, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", c.Addr, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	if err == nil && string(answer) != "ok" {
		t.Errorf("the answer is %q", answer)
	}
	return err
}

func pair(t *testing.T, cert, key string) []tls.Certificate {
	t.Helper()
	p, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{p}
}

// TestModes says whom each mode trusts, and what mends a refusal.
func TestModes(t *testing.T) {
	ours, other := servicestest.NewAuthority(t), servicestest.NewAuthority(t)
	start := func(cert, key string) string { return server(t, &tls.Config{Certificates: pair(t, cert, key)}) }
	good := start(ours.Certificate(t, "127.0.0.1"))
	named := start(ours.Certificate(t, "db.example.com"))
	nameless := start(ours.Certificate(t))
	expired := start(ours.CertificateUntil(t, time.Now().Add(-time.Minute), "127.0.0.1"))

	for _, test := range []struct {
		name string
		tls  transport.TLS
		mend string // a part of it; empty: it connects
	}{
		{"required takes anybody", transport.TLS{Addr: nameless, Mode: transport.Required}, ""},
		{"the machine's authorities do not know ours", transport.TLS{Addr: good, Mode: transport.VerifyCA}, "db.tls_ca"},
		{"verify_ca", transport.TLS{Addr: good, Mode: transport.VerifyCA, CA: ours.CA}, ""},
		{"verify_ca, another name", transport.TLS{Addr: named, Mode: transport.VerifyCA, CA: ours.CA}, ""},
		{"verify_ca, no name", transport.TLS{Addr: nameless, Mode: transport.VerifyCA, CA: ours.CA}, ""},
		{"verify_ca, another authority", transport.TLS{Addr: good, Mode: transport.VerifyCA, CA: other.CA}, "db.tls_ca"},
		{"verify_ca, expired", transport.TLS{Addr: expired, Mode: transport.VerifyCA, CA: ours.CA}, "renew"},
		{"verify_identity", transport.TLS{Addr: good, Mode: transport.VerifyIdentity, CA: ours.CA}, ""},
		{"verify_identity, another name", transport.TLS{Addr: named, Mode: transport.VerifyIdentity, CA: ours.CA}, "db.tls_server_name"},
		{"verify_identity, no name", transport.TLS{Addr: nameless, Mode: transport.VerifyIdentity, CA: ours.CA}, "db.tls_server_name"},
		{"verify_identity, the name given", transport.TLS{Addr: named, Mode: transport.VerifyIdentity, CA: ours.CA, ServerName: "db.example.com"}, ""},
		{"verify_identity, another authority", transport.TLS{Addr: good, Mode: transport.VerifyIdentity, CA: other.CA}, "db.tls_ca"},
		{"verify_identity, expired", transport.TLS{Addr: expired, Mode: transport.VerifyIdentity, CA: ours.CA}, "renew"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := greet(t, test.tls)
			mend := ""
			if err != nil {
				mend = transport.Mend("db", err)
			}
			if (err == nil) != (test.mend == "") || !strings.Contains(mend, test.mend) {
				t.Errorf("got %v, to mend by %q, want %q", err, mend, test.mend)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	ours, other := servicestest.NewAuthority(t), servicestest.NewAuthority(t)
	trusted, err := transport.TLS{Addr: "h:1", Mode: transport.VerifyCA, CA: ours.CA}.Config()
	if err != nil {
		t.Fatal(err)
	}
	cert, key := ours.Certificate(t, "127.0.0.1")
	addr := server(t, &tls.Config{
		Certificates: pair(t, cert, key),
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted.RootCAs,
	})
	c := transport.TLS{Addr: addr, Mode: transport.VerifyIdentity, CA: ours.CA}
	if mend := transport.Mend("db", greet(t, c)); !strings.Contains(mend, "db.tls_cert and db.tls_key") {
		t.Errorf("without a certificate: to mend by %q", mend)
	}
	c.Cert, c.Key = other.Certificate(t)
	if mend := transport.Mend("db", greet(t, c)); !strings.Contains(mend, "db.tls_cert") {
		t.Errorf("with one of another authority: to mend by %q", mend)
	}
	c.Cert, c.Key = ours.Certificate(t)
	if err := greet(t, c); err != nil {
		t.Error(err)
	}
}

func TestMendKnowsWhatIsNotTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "-ERR this is no TLS\r\n")
		_, _ = io.ReadAll(conn)
		_ = conn.Close()
	}()
	err = greet(t, transport.TLS{Addr: l.Addr().String(), Mode: transport.Required})
	if mend := transport.Mend("db", err); !strings.Contains(mend, "db.addr") {
		t.Errorf("%v is mended by %q", err, mend)
	}
	<-done
	if mend := transport.Mend("db", errors.New("no route to host")); mend != "" {
		t.Errorf("an error of the network is mended by %q", mend)
	}
}

// TestCertificatesAreReadAgain renews the client certificate and the CA.
func TestCertificatesAreReadAgain(t *testing.T) {
	ours, other := servicestest.NewAuthority(t), servicestest.NewAuthority(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	put := func(from string) {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ca, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(other.CA)
	c := transport.TLS{Mode: transport.VerifyCA, CA: ca}
	cert, key := ours.Certificate(t)
	c.Addr = server(t, &tls.Config{Certificates: pair(t, cert, key)})
	if err := greet(t, c); err == nil {
		t.Error("the other authority is trusted")
	}
	put(ours.CA)
	if err := greet(t, c); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	ours := servicestest.NewAuthority(t)
	cert, key := ours.Certificate(t)
	_, otherKey := ours.Certificate(t)
	gone := filepath.Join(t.TempDir(), "gone.pem")
	for _, test := range []struct {
		name string
		tls  transport.TLS
		want []string // starts
	}{
		{"off", transport.TLS{Mode: transport.Disabled}, nil},
		{"all", transport.TLS{Mode: transport.VerifyIdentity, CA: ours.CA, Cert: cert, Key: key, ServerName: "db"}, nil},
		{"unknown", transport.TLS{Mode: "on"}, []string{`db.tls: is "on"; write disabled, required, verify_ca, verify_identity`}},
		{
			"off, and yet",
			transport.TLS{Mode: transport.Disabled, CA: ours.CA, ServerName: "db"},
			[]string{"db.tls_ca: is set, but nothing is encrypted", "db.tls_server_name: is set, but nothing is encrypted"},
		},
		{"a CA nobody looks at", transport.TLS{Mode: transport.Required, CA: ours.CA}, []string{"db.tls_ca: is not looked at"}},
		{"no key", transport.TLS{Mode: transport.Required, Cert: cert}, []string{"db.tls_key: is missing"}},
		{"no certificate", transport.TLS{Mode: transport.Required, Key: key}, []string{"db.tls_cert: is missing"}},
		{"another key", transport.TLS{Mode: transport.Required, Cert: cert, Key: otherKey}, []string{"db.tls_cert: "}},
		{"no file", transport.TLS{Mode: transport.VerifyCA, CA: gone}, []string{"db.tls_ca: is "}},
		{"no certificate file", transport.TLS{Mode: transport.Required, Cert: gone, Key: key}, []string{"db.tls_cert: is "}},
		{"no PEM", transport.TLS{Mode: transport.VerifyCA, CA: key}, []string{"db.tls_ca: "}},
		{"socket", transport.TLS{Addr: "/run/mysqld.sock", Mode: transport.Required}, []string{"db.tls: is \"required\", but a Unix socket"}},
	} {
		test.tls.Section = "db"
		if test.tls.Addr == "" {
			test.tls.Addr = "db.example.com:1"
		}
		got := test.tls.Validate()
		if !slices.EqualFunc(got, test.want, func(err error, start string) bool { return strings.HasPrefix(err.Error(), start) }) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
