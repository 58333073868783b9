// Package oracle judges chorusd from outside: who gets which row, and when.
//
// A World is a random schema with random rules over it (generate.go). It is
// written twice from one description: as the TOML that chorusd reads (toml.go)
// and as plain SQL that says which rows and fields each user may see at the
// moment (visible.go). Nothing of chorusd's own code takes part in the second.
//
// A Writer changes the world by random transactions, one statement after the
// other, so that a seed repeats them (writer.go). After each commit the SQL is
// asked for what the transaction can have changed, and a History keeps who was
// entitled to which content of which row between which commits (history.go).
//
// Clients come and go on a Pusher server that is played (pusher.go, client.go).
// Two things are judged (run.go):
//   - nothing is sent to a channel that it was not entitled to at the point of
//     the log that the message's id names, or later;
//   - when writing pauses, each client has exactly the rows that the SQL gives.
package oracle
