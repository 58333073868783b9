// Package pusher talks to Pusher-compatible servers: it publishes events,
// lists the channels that somebody is subscribed to, and receives the webhooks
// that say when one of them gains its first or loses its last subscriber.
//
// Requests are made and signed by pusher-http-go. What that library lacks
// (contexts, typed errors, exact request sizes, the dialects of Reverb and
// Soketi) is added underneath it, in an http.RoundTripper; see DESIGN.md.
package pusher
