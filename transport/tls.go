// Package transport says how the connections to the database and to Redis are
// encrypted, and turns what can go wrong with that into what mends it.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
)

// The modes, by MySQL's names (its client's --ssl-mode). There is no
// "preferred": it protects from nobody who can change what is sent.
const (
	Disabled       = "disabled"
	Required       = "required"        // encrypted, with whoever answers
	VerifyCA       = "verify_ca"       // with a server that the CA has signed
	VerifyIdentity = "verify_identity" // and whose certificate names its host
)

// Modes lists the modes, the weakest first.
func Modes() []string { return []string{Disabled, Required, VerifyCA, VerifyIdentity} }

// TLS is how to encrypt the connections to one server. The files are read for
// every connection, so that renewed certificates need no restart.
type TLS struct {
	// Section is that of the configuration, for messages: "mysql".
	Section string
	// Addr is the server's: host:port, or the path of a Unix socket.
	Addr string
	Mode string
	// CA is a PEM file of the authorities to trust; empty: the machine's.
	CA string
	// Cert and Key are PEM files of a client certificate, for servers that
	// demand one.
	Cert, Key string
	// ServerName is what the certificate must name, where it is not Addr's host.
	ServerName string
}

// Validate returns everything that is wrong, each starting with its key:
// "mysql.tls_ca: …". It reads the files.
func (t TLS) Validate() []error {
	var wrong []error
	report := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf(t.Section+"."+key+": "+format, args...))
	}
	given := []struct{ key, value string }{
		{"tls_ca", t.CA}, {"tls_cert", t.Cert}, {"tls_key", t.Key}, {"tls_server_name", t.ServerName},
	}
	switch t.Mode {
	case Disabled:
		for _, g := range given {
			if g.value != "" {
				report(g.key, "is set, but nothing is encrypted while %s.tls is %q; write tls = %q", t.Section, t.Mode, VerifyIdentity)
			}
		}
		return wrong
	case Required:
		if t.CA != "" {
			report("tls_ca", "is not looked at while %s.tls is %q; write tls = %q, or %q where the certificate does not name the host",
				t.Section, t.Mode, VerifyIdentity, VerifyCA)
		}
	case VerifyCA, VerifyIdentity:
	default:
		report("tls", "is %q; write %s", t.Mode, strings.Join(Modes(), ", "))
		return wrong
	}
	if strings.HasPrefix(t.Addr, "/") {
		report("tls", "is %q, but a Unix socket does not leave the machine; write tls = %q", t.Mode, Disabled)
	}
	switch {
	case t.Cert != "" && t.Key == "":
		report("tls_key", "is missing, the private key of tls_cert; write tls_key = \"…\"")
	case t.Cert == "" && t.Key != "":
		report("tls_cert", "is missing, the certificate of tls_key; write tls_cert = \"…\"")
	}
	if len(wrong) > 0 {
		return wrong
	}
	if _, err := t.Config(); err != nil {
		wrong = append(wrong, err)
	}
	return wrong
}

// Config reads the files; it is nil where nothing is encrypted. An error
// starts with the key that is wrong.
func (t TLS) Config() (*tls.Config, error) {
	if t.Mode == Disabled || t.Mode == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(t.Addr)
		if err != nil {
			return nil, fmt.Errorf("%s.addr: %w", t.Section, err)
		}
		cfg.ServerName = host
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("%s.tls_ca: is %q, which cannot be read: %w; let it name a file that chorusd may read", t.Section, t.CA, cause(err))
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.tls_ca: is %q, which has no certificate in PEM form (-----BEGIN CERTIFICATE-----)", t.Section, t.CA)
		}
	}
	if t.Cert != "" {
		for key, file := range map[string]string{"tls_cert": t.Cert, "tls_key": t.Key} {
			if _, err := os.ReadFile(file); err != nil {
				return nil, fmt.Errorf("%s.%s: is %q, which cannot be read: %w; let it name a file that chorusd may read", t.Section, key, file, cause(err))
			}
		}
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("%s.tls_cert: is %q, which with tls_key %q is no certificate and its private key in PEM form: %w", t.Section, t.Cert, t.Key, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	switch t.Mode {
	case Required:
		cfg.InsecureSkipVerify = true // what "required" means, see there
	case VerifyCA:
		cfg.InsecureSkipVerify = true // verifyChain does it, but for the name
		cfg.VerifyConnection = verifyChain(cfg.RootCAs)
	}
	return cfg, nil
}

// cause is the plain reason of a failed file operation.
func cause(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// verifyChain is Go's own verification without the host's name.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		if _, err := s.PeerCertificates[0].Verify(options); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
}

// Mend says what mends a connection that failed over its encryption, in terms
// of the section's keys; it is empty for any other error.
func Mend(section string, err error) string {
	if err == nil {
		return ""
	}
	key := func(name string) string { return section + "." + name }
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Sprintf("let %s name the file of the authority that signed the server's certificate", key("tls_ca"))
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("set %s to a name that the certificate has, or %s to %q, which does not look at the name", key("tls_server_name"), key("tls"), VerifyCA)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "renew the server's certificate, and see that the clocks of both machines are right"
		}
		return "give the server a certificate for servers, signed by an authority"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("see that %s is the authority of the server's certificate", key("tls_ca"))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Sprintf("what answers there speaks no TLS: set the server's port for TLS in %s, or %s to %q", key("addr"), key("tls"), Disabled)
	}
	// crypto/tls names the alerts of the other side by their text alone.
	if _, text, ok := strings.Cut(err.Error(), "remote error: tls: "); ok {
		switch {
		case strings.Contains(text, "certificate required"), strings.Contains(text, "handshake failure"), strings.Contains(text, "bad certificate"):
			return fmt.Sprintf("the server demands a client certificate that it trusts: set %s and %s", key("tls_cert"), key("tls_key"))
		case strings.Contains(text, "certificate"):
			return fmt.Sprintf("the server refuses %s: take one that its own authority has signed", key("tls_cert"))
		}
		return "see the server's settings for TLS"
	}
	return ""
}
