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
// Clients come and go on a Pusher server that is played (pusher.go, client.go),
// and do what control messages say (control.go). Three things are judged (run.go):
//   - nothing is sent to a channel that it was not entitled to at the point of
//     the log that the message's id names, or later; a delete that says more
//     than the key says how the row was just before;
//   - who is there all along is told to delete no row that was never his;
//   - when writing pauses, each client has exactly the rows that the SQL gives.
//
// Commits come one after the other, while up to two sessions are open: of two
// commits at once nobody could say who was entitled to what in between. What
// takes the time of a run is not that, but pauses, restarts of chorusd and the
// oracle's questions: so a long run has fewer of the first two (Pace), and of
// the last only those that a transaction gives reason to (extent.go).
package oracle
