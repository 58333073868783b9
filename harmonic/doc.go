// Package harmonic is the noun that the rest of chorusd shares: one change of
// one record as a client gets it, its id, and the exact text of every message
// on the wire. WIRE.md beside this file is the specification; the goldens in
// testdata are its examples, read by the Go and the TypeScript tests alike.
//
// The package depends on the standard library only and knows nothing of
// databases, channels or servers.
package harmonic
