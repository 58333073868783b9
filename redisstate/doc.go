// Package redisstate keeps in Redis what chorusd must not forget: the
// checkpoint, the channels that are active, the keys of harmonics that nobody
// was there to receive, the refills under way, and what was set aside. Positions
// are opaque strings and records are table and key; the package knows nothing of
// binlogs, mappings or Pusher servers. DESIGN.md beside this file lists every
// key and the rules that hold across crashes.
//
// Errors of the network are returned wrapped and soon; to try again is the
// caller's business. Every method may be called from several goroutines.
package redisstate
