// Package pushertest has Pusher-compatible servers for tests and benchmarks: a
// Server that answers as Reverb, Soketi, Sockudo or hosted Pusher does, over
// HTTP and WebSocket, and a Proxy before a real one. Faults can be made to
// happen on both.
//
// Its Reverb and its Soketi give the answers of ../testdata, which were
// recorded from real ones; a test asks for each. Of the others, whose answers
// nobody has recorded, it has what clients have to tell apart, not every word.
// Quotations in comments are of pusher-servers.md, the collected facts.
//
// It does not know package pusher, so that the limits that it keeps to are its
// own.
package pushertest
