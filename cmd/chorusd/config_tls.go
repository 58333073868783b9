package main

import (
	"github.com/chorusd/chorusd/transport"
)

// tlsConfig are the keys of a section that say how its connections are
// encrypted; see transport.TLS.
type tlsConfig struct {
	// Mode is one of transport.Modes.
	Mode       string `koanf:"tls"`
	CA         string `koanf:"tls_ca"`
	Cert       string `koanf:"tls_cert"`
	Key        string `koanf:"tls_key"`
	ServerName string `koanf:"tls_server_name"`
}

// of is the section as transport takes it.
func (c tlsConfig) of(section, addr string) transport.TLS {
	return transport.TLS{
		Section: section, Addr: addr, Mode: c.Mode, CA: c.CA, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName,
	}
}
